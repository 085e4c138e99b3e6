"""What can be said of any torch network: its inputs, its weights, what they cost, masks, its file."""
