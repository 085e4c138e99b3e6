/* One output of a linear layer; 1: relu, 2: relu6. */
static float finished(float sum, float bias, float residual, int activation) {
    const float v = sum + bias + residual, positive = activation && v < 0 ? 0 : v;
    return activation == 2 && positive > 6 ? 6 : positive;
}
