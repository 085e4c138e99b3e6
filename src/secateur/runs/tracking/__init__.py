"""Runs shown in Weights & Biases, TensorBoard and MLflow, each under its own id: `--log-with`."""
