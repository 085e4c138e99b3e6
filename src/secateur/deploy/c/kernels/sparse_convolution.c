/* Direct sparse convolution. Output channel o has counts[o] nonzeros, each with its place `at` in the planes of its
   group, in rows; where counts is NULL every weight is there, and `at` is that of any one channel. `room`: floats for
   the values of one channel, where they are kept as fp16 or int8. */
KERNEL void sparse_convolution$suffix(const convolution *c, const float *x, const $index *at, const $value *values,
                                      const $index *counts, /*8 const float *scales, */
                                      const float *bias, const float *residual, float *y,
                                      float *scratch, float *room) {
    const int all = c->inputs * c->kernel_height * c->kernel_width;
    const ptrdiff_t plane = (ptrdiff_t)c->out_height * c->out_width;
    for (int group = 0; group < c->groups; group++) {
        const $index *next = at;
        const $value *value = values;
        for (int first = 0; first < c->out_height; first += c->band) {
            const int left = c->out_height - first, count = (left < c->band ? left : c->band) * c->out_width;
            const float *from = planes_of(c, x, group, first, scratch);
            ptrdiff_t to = (ptrdiff_t)group * c->outputs * plane + (ptrdiff_t)first * c->out_width;
            next = at;
            value = values;
            for (int o = group * c->outputs; o < (group + 1) * c->outputs; o++, to += plane) {
                const int n = counts ? (int)counts[o] : all;
                const float *floats = $read(value, n, /*8 scales + o, n, 1, */ room);
                sparse_channel$wide(from, next, floats, n, c->out_width, bias ? bias[o] : 0,
                                      residual ? residual + to : residual, c->activation, count, y + to);
                value += n;
                if (counts) next += n;
            }
        }
        at = next;
        values = value;
    }
}
