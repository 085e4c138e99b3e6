/* One row of a plane: columns [low, high) from `from`, zeros beside them. */
KERNEL void row_of_plane(float *to, const float *from, int low, int high, int width, int stride) {
    int k = 0;
    for (; k < low; k++) to[k] = 0;
    if (stride == 2)
        for (; k < high; k++) to[k] = from[2 * (k - low)];
    else
        for (; k < high; k++) to[k] = from[stride * (k - low)];
    for (; k < width; k++) to[k] = 0;
}

/* A plane whose rows and columns follow as those of the input do: one shifted copy, then zeros at the row ends. */
KERNEL void shifted_plane(const convolution *c, const float *x, int shift, int first, float *to) {
    const int width = c->width, low = first < 0 ? 0 : first;
    const int high = first + c->rows < c->height ? first + c->rows : c->height;
    const int left = -shift < width ? -shift : width, right = shift < width ? width - shift : 0;
    int from = low * width + shift, until = high * width + shift;
    if (from < 0) from = 0;
    if (until > c->height * width) until = c->height * width;
    if (low >= high || from >= until) {
        memset(to, 0, (size_t)c->rows * (size_t)width * sizeof *to);
        return;
    }
    memset(to, 0, (size_t)(low - first) * (size_t)width * sizeof *to);
    memcpy(to + (from - shift - first * width), x + from, (size_t)(until - from) * sizeof *to);
    for (int j = low - first; j < high - first; j++) {
        for (int k = 0; k < left; k++) to[j * width + k] = 0;
        for (int k = right; k < width; k++) to[j * width + k] = 0;
    }
    memset(to + (high - first) * width, 0, (size_t)(first + c->rows - high) * (size_t)width * sizeof *to);
}

/* Fills the planes of one group for the band that begins at output row `first`. */
KERNEL void fill_planes(const convolution *c, const float *x, int first, float *to) {
    const int same = c->stride_y == 1 && c->stride_x == 1 && c->out_width == c->width, s = c->stride_x;
    for (int channel = 0; channel < c->inputs; channel++, x += (ptrdiff_t)c->height * c->width)
        for (int column = 0; column < c->kernel_width; column++) {
            const int shift = column * c->dilation_x - c->padding_x;
            int low = shift < 0 ? (-shift + s - 1) / s : 0;
            int high = c->width > shift ? (c->width - shift + s - 1) / s : 0;
            if (same) {
                shifted_plane(c, x, shift, first - c->padding_y, to);
                to += (ptrdiff_t)c->rows * c->out_width;
                continue;
            }
            if (high > c->out_width) high = c->out_width;
            if (low >= high) low = high = c->out_width;
            for (int p = 0; p < c->phases; p++)
                for (int j = 0; j < c->rows; j++, to += c->out_width) {
                    const int row = (first + j) * c->stride_y + p * c->dilation_y % c->stride_y - c->padding_y;
                    if (row < 0 || row >= c->height || low == c->out_width)
                        memset(to, 0, (size_t)c->out_width * sizeof *to);
                    else
                        row_of_plane(to, x + ((ptrdiff_t)row * c->width + shift + low * s), low, high, c->out_width, s);
                }
        }
}

/* Where the planes of a group lie for the band that begins at output row `first`: filled now, or the input itself. */
KERNEL const float *planes_of(const convolution *c, const float *x, int group, int first, float *scratch) {
    x += (ptrdiff_t)group * c->inputs * c->height * c->width;
    if (c->direct) return x + (ptrdiff_t)first * c->width;
    fill_planes(c, x, first, scratch);
    return scratch;
}
