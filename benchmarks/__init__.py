"""Claims of speed: each a ratio measured here, by `python -m benchmarks NAME`."""
