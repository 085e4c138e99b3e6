"""Each paper's grid of runs, its own numbers, and its tables and pictures with ours beside them."""
