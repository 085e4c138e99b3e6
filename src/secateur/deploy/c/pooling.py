"""Steps that make one number of a window of an image."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.deploy.c.program import Code, OfOne, Values

_POOL = {
    "max_pool": """\
static void max_pool(size_t c, size_t h, size_t w, size_t oh, size_t ow, size_t kh, size_t kw,
                     size_t sh, size_t sw, size_t ph, size_t pw, size_t dh, size_t dw,
                     const float *restrict x, float *restrict y)
{
    for (size_t p = 0; p < c; p++, x += h * w)
        for (size_t i = 0; i < oh; i++)
            for (size_t j = 0; j < ow; j++) {
                float most = -INFINITY;
                for (size_t u = 0; u < kh; u++) {
                    const size_t row = i * sh + u * dh;
                    if (row < ph || row - ph >= h)
                        continue;
                    for (size_t v = 0; v < kw; v++) {
                        const size_t column = j * sw + v * dw;
                        if (column < pw || column - pw >= w)
                            continue;
                        const float value = x[(row - ph) * w + column - pw];
                        if (value > most || value != value)
                            most = value;
                    }
                }
                *y++ = most;
            }
}
""",
    "avg_pool": """\
/* The sum of each window over a divisor; 0: over how many pixels are in it, padding too where `padded`. */
static void avg_pool(size_t c, size_t h, size_t w, size_t oh, size_t ow, size_t kh, size_t kw,
                     size_t sh, size_t sw, size_t ph, size_t pw, int padded, size_t divisor,
                     const float *restrict x, float *restrict y)
{
    for (size_t p = 0; p < c; p++, x += h * w)
        for (size_t i = 0; i < oh; i++)
            for (size_t j = 0; j < ow; j++) {
                const size_t top = i * sh, left = j * sw;
                const size_t bottom = top + kh < h + 2 * ph ? top + kh : h + 2 * ph;
                const size_t right = left + kw < w + 2 * pw ? left + kw : w + 2 * pw;
                size_t count = 0;
                float sum = 0.0f;
                for (size_t u = top; u < bottom; u++)
                    for (size_t v = left; v < right; v++)
                        if (u >= ph && u - ph < h && v >= pw && v - pw < w) {
                            sum += x[(u - ph) * w + v - pw];
                            count++;
                        }
                if (padded)
                    count = (bottom - top) * (right - left);
                *y++ = sum / (float)(divisor ? divisor : count);
            }
}
""",
    "adaptive_avg_pool": """\
static void adaptive_avg_pool(size_t c, size_t h, size_t w, size_t oh, size_t ow,
                              const float *restrict x, float *restrict y)
{
    for (size_t p = 0; p < c; p++, x += h * w)
        for (size_t i = 0; i < oh; i++)
            for (size_t j = 0; j < ow; j++) {
                const size_t top = i * h / oh, bottom = ((i + 1) * h + oh - 1) / oh;
                const size_t left = j * w / ow, right = ((j + 1) * w + ow - 1) / ow;
                float sum = 0.0f;
                for (size_t u = top; u < bottom; u++)
                    for (size_t v = left; v < right; v++)
                        sum += x[u * w + v];
                *y++ = sum / (float)((bottom - top) * (right - left));
            }
}
""",
    "adaptive_max_pool": """\
static void adaptive_max_pool(size_t c, size_t h, size_t w, size_t oh, size_t ow,
                              const float *restrict x, float *restrict y)
{
    for (size_t p = 0; p < c; p++, x += h * w)
        for (size_t i = 0; i < oh; i++)
            for (size_t j = 0; j < ow; j++) {
                const size_t top = i * h / oh, bottom = ((i + 1) * h + oh - 1) / oh;
                const size_t left = j * w / ow, right = ((j + 1) * w + ow - 1) / ow;
                float most = x[top * w + left];
                for (size_t u = top; u < bottom; u++)
                    for (size_t v = left; v < right; v++)
                        if (x[u * w + v] > most || x[u * w + v] != x[u * w + v])
                            most = x[u * w + v];
                *y++ = most;
            }
}
""",
}


@dataclass(frozen=True, eq=False)
class Pool(OfOne):
    """output = the largest, or the mean, of windows of contiguous (1, c, h, w); see the C.

    Attributes:
        kind: a key of `_POOL`.
        sizes: the numbers of the C function after c, h, w, h', w'.
    """

    kind: str
    sizes: tuple[int, ...]

    @property
    def title(self) -> str:
        (h, w), (oh, ow) = self.input.shape[2:], self.output.shape[2:]
        return f"{self.kind.replace('_', ' ')}, {h} x {w} to {oh} x {ow}"

    def code(self, values: Values) -> Code:
        sizes = (*self.input.shape[1:], *self.output.shape[2:], *self.sizes)
        call = f"{self.kind}({', '.join(map(str, sizes))}, {self.input.pointer}, {self.output.name});"
        return Code("", call, 0, (_POOL[self.kind],))
