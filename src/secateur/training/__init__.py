"""One training loop, and what it is told by: a recipe, seeds, checkpoints."""
