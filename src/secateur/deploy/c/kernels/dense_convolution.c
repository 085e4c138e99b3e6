/* Direct convolution with every weight. taps: where kernel row r reads in a plane. `room`: floats for the weights of
   eight output channels, where they are kept as fp16 or int8. */
KERNEL void dense_convolution$suffix(const convolution *c, const float *x, const int32_t *taps, const $value *weights, /*8 const float *scales, */
                                     const float *bias, const float *residual, float *y, float *scratch, float *room) {
    const ptrdiff_t plane = (ptrdiff_t)c->out_height * c->out_width;
    const int all = c->inputs * c->kernel_width * c->kernel_height;
    for (int group = 0; group < c->groups; group++) {
        const $value *value = weights;
        for (int first = 0; first < c->out_height; first += c->band) {
            const int left = c->out_height - first, count = (left < c->band ? left : c->band) * c->out_width;
            const float *from = planes_of(c, x, group, first, scratch);
            value = weights;
            for (int o = 0; o < c->outputs; o += 8) {
                const int channels = c->outputs - o < 8 ? c->outputs - o : 8, n = (channels > 4 ? 8 : 4) * all;
                const int channel = group * c->outputs + o;
                const ptrdiff_t to = channel * plane + (ptrdiff_t)first * c->out_width;
                const float *floats = $read(value, n, /*8 scales + channel, 1, channels > 4 ? 8 : 4, */ room);
                dense_block(c, taps, from, floats, bias ? bias + channel : bias, residual ? residual + to : residual,
                            channels, count, y + to);
                value += n;
            }
        }
        weights = value;
    }
}
