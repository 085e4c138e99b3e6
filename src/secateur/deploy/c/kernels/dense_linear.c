INLINE float sum_of(vec v) {
    float parts[LANES], sum = 0;
    store(parts, v);
    for (int i = 0; i < LANES; i++) sum += parts[i];
    return sum;
}

/* The first `count` numbers from there, zeros after them. */
INLINE vec load_some(const float *from, int count) {
    float some[LANES] = {0};
    memcpy(some, from, (size_t)count * sizeof *some);
    return load(some);
}

/* R rows of x times M rows of weights, as R * M sums side by side in `to`; both have `inputs` numbers a row. */
INLINE void dots(const int R, const int M, const float *x, const float *weights, int inputs, float *to) {
    vec sums[4][4];
    int i = 0;
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int m = 0; m < M; m++) sums[r][m] = splat(0);
    for (; i + LANES <= inputs; i += LANES) {
        vec weight[4];
        UNROLL for (int m = 0; m < M; m++) weight[m] = load(weights + (ptrdiff_t)m * inputs + i);
        UNROLL for (int r = 0; r < R; r++) {
            const vec read = load(x + (ptrdiff_t)r * inputs + i);
            UNROLL for (int m = 0; m < M; m++) sums[r][m] += weight[m] * read;
        }
    }
    if (i < inputs)
        for (int r = 0; r < R; r++) {
            const vec read = load_some(x + (ptrdiff_t)r * inputs + i, inputs - i);
            UNROLL for (int m = 0; m < M; m++)
                sums[r][m] += load_some(weights + (ptrdiff_t)m * inputs + i, inputs - i) * read;
        }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int m = 0; m < M; m++) to[r * M + m] = sum_of(sums[r][m]);
}

KERNEL void dots_4x4(const float *x, const float *weights, int inputs, float *to) { dots(4, 4, x, weights, inputs, to); }
KERNEL void dots_1x4(const float *x, const float *weights, int inputs, float *to) { dots(1, 4, x, weights, inputs, to); }
KERNEL void dots_1x1(const float *x, const float *weights, int inputs, float *to) { dots(1, 1, x, weights, inputs, to); }
