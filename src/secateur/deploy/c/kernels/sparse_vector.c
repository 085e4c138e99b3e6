/* One vector through a sparse linear layer: output o has counts[o] nonzeros, of inputs `at`. */
KERNEL void sparse_vector$suffix(int outputs, const float *x, const $index *at, const $value *values,
                                 const $index *counts, /*8 const float *scales, */ const float *bias, const float *residual, int activation,
                                 float *y, float *room) {
    const $value *value = values;
    for (int o = 0; o < outputs; o++) {
        const int n = (int)counts[o];
        float sums[8] = {0};
        int i = 0;
        const float *floats = $read(value, n, /*8 scales + o, n, 1, */ room);
        for (; i + 8 <= n; i += 8) {
            UNROLL for (int k = 0; k < 8; k++) sums[k] += floats[i + k] * x[at[i + k]];
        }
        for (; i < n; i++) sums[0] += floats[i] * x[at[i]];
        y[o] = finished(((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7])),
                        bias ? bias[o] : 0, residual ? residual[o] : 0, activation);
        at += n;
        value += n;
    }
}
