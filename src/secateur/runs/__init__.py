"""Runs: values that are made once, resumed where they were left, and never repeated."""
