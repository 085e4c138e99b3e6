/* Output channels that are computed at once: with their vectors they fill the registers. */
#if LANES == 16 || defined(__aarch64__)
#define CHANNELS 8
#else
#define CHANNELS 4
#endif

/* M output channels, `count` outputs of each, at most V vectors. Weights lie as (plane, kernel row, `packed` channels). */
INLINE void dense_tile(const int M, const int V, const convolution *c, const int32_t *taps, const float *x,
                       const float *weights, int packed, const float *bias, const float *residual, int channels,
                       int count, float *y) {
    const ptrdiff_t step = (ptrdiff_t)c->phases * c->rows * c->out_width, apart = (ptrdiff_t)c->out_height * c->out_width;
    const int kernel_planes = c->inputs * c->kernel_width, height = c->kernel_height;
    vec sums[8][3];
    UNROLL for (int m = 0; m < M; m++)
        UNROLL for (int v = 0; v < V; v++) sums[m][v] = splat(bias && m < channels ? bias[m] : 0);
    for (int plane = 0; plane < kernel_planes; plane++, x += step)
        for (int row = 0; row < height; row++, weights += packed) {
            const float *from = x + taps[row];
            vec read[3];
            UNROLL for (int v = 0; v < V; v++) read[v] = load(from + v * LANES);
            UNROLL for (int m = 0; m < M; m++) {
                const vec weight = splat(weights[m]);
                UNROLL for (int v = 0; v < V; v++) sums[m][v] += weight * read[v];
            }
        }
    UNROLL for (int m = 0; m < M; m++)
        if (m < channels)
            UNROLL for (int v = 0; v < V; v++)
                finish(y + m * apart + v * LANES, sums[m][v], residual ? residual + m * apart + v * LANES : residual,
                       c->activation, count - v * LANES);
}

/* `channels` output channels, M at most, `count` outputs of each side by side. */
INLINE void dense_channels(const int M, const convolution *c, const int32_t *taps, const float *x, const float *weights,
                           int packed, const float *bias, const float *residual, int channels, int count, float *y) {
    while (count > 0) {
        const int vectors = (count + LANES - 1) / LANES, taken = vectors == 4 ? 2 : vectors > 3 ? 3 : vectors;
        if (taken == 3)
            dense_tile(M, 3, c, taps, x, weights, packed, bias, residual, channels, count, y);
        else if (taken == 2)
            dense_tile(M, 2, c, taps, x, weights, packed, bias, residual, channels, count, y);
        else
            dense_tile(M, 1, c, taps, x, weights, packed, bias, residual, channels, count, y);
        count -= taken * LANES;
        if (count <= 0) break;
        x += taken * LANES;
        y += taken * LANES;
        if (residual) residual += taken * LANES;
    }
}

#if CHANNELS == 8
KERNEL void dense_eight(const convolution *c, const int32_t *taps, const float *x, const float *weights,
                        const float *bias, const float *residual, int channels, int count, float *y) {
    dense_channels(8, c, taps, x, weights, 8, bias, residual, channels, count, y);
}
#endif

KERNEL void dense_four(const convolution *c, const int32_t *taps, const float *x, const float *weights, int packed,
                       const float *bias, const float *residual, int channels, int count, float *y) {
    dense_channels(4, c, taps, x, weights, packed, bias, residual, channels, count, y);
}

/* A block of up to eight output channels, whose weights lie eight by eight, or four by four where it has no more. */
KERNEL void dense_block(const convolution *c, const int32_t *taps, const float *x, const float *weights,
                        const float *bias, const float *residual, int channels, int count, float *y) {
#if CHANNELS == 8
    if (channels > 4) {
        dense_eight(c, taps, x, weights, bias, residual, channels, count, y);
        return;
    }
#endif
    const ptrdiff_t apart = (ptrdiff_t)c->out_height * c->out_width;
    for (int m = 0; m < channels; m += 4)
        dense_four(c, taps, x, weights + m, channels > 4 ? 8 : 4, bias ? bias + m : bias,
                   residual ? residual + m * apart : residual, channels - m, count, y + m * apart);
}
