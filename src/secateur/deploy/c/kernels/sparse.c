/* Outputs of one channel, `count` at most T vectors: for each of n nonzeros one multiply-add with what it reads, which
   begins at[i] * unit after x. Of few vectors, sums are held G times, so that one does not wait for the last. */
INLINE void sparse_tile$wide(const int T, const int G, const float *x, const $index *at, const float *values, int n,
                               ptrdiff_t unit, float bias, const float *residual, int activation, int count, float *y) {
    vec sums[4][8];
    int i = 0;
    UNROLL for (int g = 0; g < G; g++)
        UNROLL for (int t = 0; t < T; t++) sums[g][t] = splat(g ? 0 : bias);
    for (; i + G <= n; i += G) {
        UNROLL for (int g = 0; g < G; g++) {
            const float *from = x + (ptrdiff_t)at[i + g] * unit;
            const vec value = splat(values[i + g]);
            UNROLL for (int t = 0; t < T; t++) sums[g][t] += value * load(from + t * LANES);
        }
    }
    for (; i < n; i++) {
        const float *from = x + (ptrdiff_t)at[i] * unit;
        const vec value = splat(values[i]);
        UNROLL for (int t = 0; t < T; t++) sums[0][t] += value * load(from + t * LANES);
    }
    UNROLL for (int g = 1; g < G; g++)
        UNROLL for (int t = 0; t < T; t++) sums[0][t] += sums[g][t];
    UNROLL for (int t = 0; t < T; t++)
        finish(y + t * LANES, sums[0][t], residual ? residual + t * LANES : residual, activation, count - t * LANES);
}

/* One output channel: `count` outputs side by side. */
KERNEL void sparse_channel$wide(const float *x, const $index *at, const float *values, int n, ptrdiff_t unit,
                                  float bias, const float *residual, int activation, int count, float *y) {
    while (count > 0) {
        const int vectors = (count + LANES - 1) / LANES;
        const int taken = vectors >= 8 ? 8 : vectors >= 4 ? 4 : vectors >= 2 ? 2 : 1;
        if (taken == 8)
            sparse_tile$wide(8, 1, x, at, values, n, unit, bias, residual, activation, count, y);
        else if (taken == 4)
            sparse_tile$wide(4, 1, x, at, values, n, unit, bias, residual, activation, count, y);
        else if (taken == 2)
            sparse_tile$wide(2, 2, x, at, values, n, unit, bias, residual, activation, count, y);
        else
            sparse_tile$wide(1, 4, x, at, values, n, unit, bias, residual, activation, count, y);
        count -= taken * LANES;
        if (count <= 0) break;
        x += taken * LANES;
        y += taken * LANES;
        if (residual) residual += taken * LANES;
    }
}
