/* y = activation(x weights^T + bias + residual), for `rows` vectors x. `room`: floats for the weights of four outputs,
   where they are kept as fp16 or int8. */
KERNEL void dense_linear$suffix(int rows, int inputs, int outputs, const float *x, const $value *weights, /*8 const float *scales, */
                                const float *bias, const float *residual, int activation, float *y, float *room) {
    for (int o = 0; o < outputs;) {
        const int channels = outputs - o >= 4 ? 4 : 1, n = channels * inputs;
        const $value *value = weights + (ptrdiff_t)o * inputs;
        const float *floats = $read(value, n, /*8 scales + o, inputs, channels, */ room);
        for (int r = 0; r < rows;) {
            const int several = channels == 4 && rows - r >= 4 ? 4 : 1;
            float sums[16];
            if (several == 4)
                dots_4x4(x + (ptrdiff_t)r * inputs, floats, inputs, sums);
            else if (channels == 4)
                dots_1x4(x + (ptrdiff_t)r * inputs, floats, inputs, sums);
            else
                dots_1x1(x + (ptrdiff_t)r * inputs, floats, inputs, sums);
            for (int i = 0; i < several; i++)
                for (int m = 0; m < channels; m++) {
                    const ptrdiff_t to = (ptrdiff_t)(r + i) * outputs + o + m;
                    y[to] = finished(sums[i * channels + m], bias ? bias[o + m] : 0, residual ? residual[to] : 0,
                                     activation);
                }
            r += several;
        }
        o += channels;
    }
}
