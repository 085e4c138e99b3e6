/* Several vectors through a sparse linear layer, `band` at a time: transposed, each output is a channel of a sparse
   convolution of 1x1. `scratch`: (inputs + 1) rows of `band` floats, a multiple of LANES. */
KERNEL void sparse_rows$suffix(int rows, int inputs, int outputs, int band, const float *x, const $index *at,
                               const $value *values, const $index *counts, /*8 const float *scales, */ const float *bias, const float *residual,
                               int activation, float *y, float *scratch, float *room) {
    float *sums = scratch + (ptrdiff_t)inputs * band;
    for (int first = 0; first < rows; first += band) {
        const int count = rows - first < band ? rows - first : band;
        const $index *next = at;
        const $value *value = values;
        transposed(x + (ptrdiff_t)first * inputs, count, inputs, band, scratch);
        for (int o = 0; o < outputs; o++) {
            const int n = (int)counts[o];
            const float *floats = $read(value, n, /*8 scales + o, n, 1, */ room);
            sparse_channel$wide(scratch, next, floats, n, band, bias ? bias[o] : 0, NULL, 0, count, sums);
            for (int r = 0; r < count; r++) {
                const ptrdiff_t to = (ptrdiff_t)(first + r) * outputs + o;
                y[to] = finished(sums[r], 0, residual ? residual[to] : 0, activation);
            }
            next += n;
            value += n;
        }
    }
}
