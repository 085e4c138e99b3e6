/* A vector of LANES floats, as wide as the compiler's target has registers for; one float where it has none, where the
   compiler has no vectors, or where PLAIN_C is defined. */
#if defined(__GNUC__) && !defined(PLAIN_C) && \
    (defined(__SSE__) || defined(__ARM_NEON) || defined(__ALTIVEC__) || defined(__wasm_simd128__))
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t mask __attribute__((vector_size(4 * LANES)));
#else
#define LANES 1
typedef float vec;
#endif

/* The body of a KERNEL is inlined for each constant size of its tile, whose sums then lie in registers; it is itself
   inlined nowhere: what a compiler knows of one layer's constants only makes more code of it. */
#if defined(__GNUC__)
#if defined(__clang__)
#define KERNEL static __attribute__((noinline))
#else
#define KERNEL static __attribute__((noinline, noclone))
#endif
#define INLINE static inline __attribute__((always_inline, unused))
#define UNROLL _Pragma("GCC unroll 32")
#else
#define KERNEL static
#define INLINE static inline
#define UNROLL
#endif

INLINE vec load(const float *from) {
    vec v;
    memcpy(&v, from, sizeof v);
    return v;
}

INLINE void store(float *to, vec v) { memcpy(to, &v, sizeof v); }

INLINE vec splat(float value) { return value - (vec){0}; }

/* The bits of a where a bound holds it (a limit that is passed replaces it): NaN passes no bound, as in torch. */
#if LANES > 1
INLINE vec bounded(vec v, vec limit, mask passed) { return (vec)(((mask)v & ~passed) | ((mask)limit & passed)); }
INLINE vec at_least(vec v, vec low) { return bounded(v, low, v < low); }
INLINE vec at_most(vec v, vec high) { return bounded(v, high, v > high); }
#else
INLINE vec at_least(vec v, vec low) { return v < low ? low : v; }
INLINE vec at_most(vec v, vec high) { return v > high ? high : v; }
#endif

/* 0: none, 1: relu, 2: relu6 */
INLINE vec activated(vec v, int activation) {
    if (activation) v = at_least(v, splat(0));
    return activation == 2 ? at_most(v, splat(6)) : v;
}

/* Writes activation(v + residual) to the first `count` numbers at `to`, LANES at most; residual may be NULL. */
INLINE void finish(float *to, vec v, const float *residual, int activation, int count) {
    if (count >= LANES) {
        if (residual) v += load(residual);
        store(to, activated(v, activation));
    } else if (count > 0) {
        float some[LANES] = {0};
        if (residual) memcpy(some, residual, (size_t)count * sizeof *some);
        store(some, activated(v + load(some), activation));
        memcpy(to, some, (size_t)count * sizeof *some);
    }
}
