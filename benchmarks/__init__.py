"""Claims of speed: each a number measured here, by `python -m benchmarks NAME`."""
