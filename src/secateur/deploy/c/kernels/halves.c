/* Weights that are kept as fp16, as fp32 at `to`; finite ones only. */
KERNEL const float *from_halves(const uint16_t *restrict from, int count, float *restrict to) {
    for (int i = 0; i < count; i++) {
        const uint32_t half = from[i], magnitude = (half & 0x7fffu) << 13, scale = 0x77800000u; /* 2^112 */
        float value, by;
        uint32_t bits;
        memcpy(&value, &magnitude, sizeof value);
        memcpy(&by, &scale, sizeof by);
        value *= by;
        memcpy(&bits, &value, sizeof bits);
        bits |= (half & 0x8000u) << 16;
        memcpy(to + i, &bits, sizeof bits);
    }
    return to;
}
