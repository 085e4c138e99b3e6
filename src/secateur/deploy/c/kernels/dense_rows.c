/* Several vectors through a linear layer, `band` at a time: transposed, the outputs are channels of a convolution of
   1x1, whose weights lie as there. `scratch`: (inputs + 8) rows of `band` floats, a multiple of LANES. */
KERNEL void dense_rows$suffix(int rows, int inputs, int outputs, int band, const float *x, const $value *weights,
                              /*8 const float *scales, */ const float *bias, const float *residual, int activation, float *y, float *scratch,
                              float *room) {
    const convolution shape = {.inputs = inputs, .kernel_height = 1, .kernel_width = 1, .out_height = 1,
                               .out_width = band, .phases = 1, .rows = 1};
    const int32_t tap = 0;
    float *sums = scratch + (ptrdiff_t)inputs * band;
    for (int first = 0; first < rows; first += band) {
        const int count = rows - first < band ? rows - first : band;
        const $value *value = weights;
        transposed(x + (ptrdiff_t)first * inputs, count, inputs, band, scratch);
        for (int o = 0; o < outputs; o += 8) {
            const int channels = outputs - o < 8 ? outputs - o : 8, n = (channels > 4 ? 8 : 4) * inputs;
            const float *floats = $read(value, n, /*8 scales + o, 1, channels > 4 ? 8 : 4, */ room);
            dense_block(&shape, &tap, scratch, floats, bias ? bias + o : bias, NULL, channels, count, sums);
            for (int r = 0; r < count; r++) {
                const ptrdiff_t to = (ptrdiff_t)(first + r) * outputs + o;
                for (int m = 0; m < channels; m++)
                    y[to + m] = finished(sums[m * band + r], 0, residual ? residual[to + m] : 0, activation);
            }
            value += n;
        }
    }
}
