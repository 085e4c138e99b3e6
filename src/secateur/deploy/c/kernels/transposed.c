/* to[c * apart + r] = from[r * columns + c] */
KERNEL void transposed(const float *restrict from, int rows, int columns, ptrdiff_t apart, float *restrict to) {
    for (int c = 0; c < columns; c++)
        for (int r = 0; r < rows; r++) to[c * apart + r] = from[(ptrdiff_t)r * columns + c];
}
