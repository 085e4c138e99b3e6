/* Weights that are kept as fp32. */
INLINE const float *from_floats(const float *from, int count, float *to) {
    (void)count;
    (void)to;
    return from;
}
