"""What `tools/prunability.py` measures: networks, what comes of one, other tools beside it, the tables."""
