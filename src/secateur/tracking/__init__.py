"""What is shown in Weights & Biases, TensorBoard and MLflow: the services, and what they are told."""
