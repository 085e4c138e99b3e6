"""One file for each paper: the grid of its runs; the published values and the tables beside it."""
