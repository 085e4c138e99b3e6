/* Weights that are kept in 8 bits, as fp32 at `to`: `run` of them side by side have one scale, `width` scales in turn. */
KERNEL const float *from_bytes(const int8_t *restrict from, int count, const float *restrict scales, int run,
                               int width, float *restrict to) {
    if (run == 1 && width == 8) {
        for (int i = 0; i < count; i += 8)
            UNROLL for (int w = 0; w < 8; w++) to[i + w] = scales[w] * (float)from[i + w];
        return to;
    }
    for (int i = 0; i < count;)
        for (int w = 0; w < width; w++, i += run)
            for (int j = 0; j < run; j++) to[i + j] = scales[w] * (float)from[i + j];
    return to;
}
