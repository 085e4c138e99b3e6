/* to[c * apart + r] = from[r * columns + c] */
KERNEL void transposed(const float *restrict from, int rows, int columns, ptrdiff_t apart, float *restrict to) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) to[c * apart + r] = from[(ptrdiff_t)r * columns + c];
}

/* Several vectors through a sparse linear layer: transposed, each output is a channel of a sparse convolution of 1x1.
   `scratch`: (inputs + 1) rows of `apart` floats, a multiple of LANES that holds `rows`. */
KERNEL void sparse_rows$suffix(int rows, int inputs, int outputs, int apart, const float *x, const $index *at,
                               const $value *values, const $index *counts, /*8 const float *scales, */ const float *bias, const float *residual,
                               int activation, float *y, float *scratch, float *room) {
    const $value *value = values;
    float *sums = scratch + (ptrdiff_t)inputs * apart;
    transposed(x, rows, inputs, apart, scratch);
    for (int o = 0; o < outputs; o++) {
        const int n = (int)counts[o];
        const float *floats = $read(value, n, /*8 scales + o, n, 1, */ room);
        sparse_channel$wide(scratch, at, floats, n, apart, bias ? bias[o] : 0, 0, 0, rows, sums);
        for (int r = 0; r < rows; r++) {
            const ptrdiff_t to = (ptrdiff_t)r * outputs + o;
            y[to] = finished(sums[r], 0, residual ? residual[to] : 0, activation);
        }
        at += n;
        value += n;
    }
}
