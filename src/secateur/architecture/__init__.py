"""Networks without their weights: described, built, narrowed, saved, loaded."""
