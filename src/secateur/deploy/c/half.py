"""float16 in C that knows no such type."""

HALF = """\
/* A half-precision number, by its bits. */
static inline float half(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, rest = bits & 0x7fffu;
    union { uint32_t bits; float value; } number;
    if (rest >= 0x7c00u) { /* infinite, or none */
        number.bits = sign | 0x7f800000u | (rest & 0x3ffu) << 13;
        return number.value;
    }
    number.bits = rest << 13; /* 2^112 too small, and exact after this, subnormal numbers too */
    number.value *= 5192296858534827628530496329220096.0f;
    number.bits |= sign;
    return number.value;
}
"""
