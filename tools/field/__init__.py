"""What `tools/prunability.py` measures: the networks, one network's outcome, other tools beside it, the table."""
