"""What files say, as values: records of runs, points, results of comparisons. Every key: docs/results.md."""
