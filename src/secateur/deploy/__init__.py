"""Networks for other runtimes, and how fast they are there."""
