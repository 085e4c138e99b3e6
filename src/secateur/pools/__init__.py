"""Workers of this machine, or of a Ray cluster: text goes in and comes out, and a lost one is replaced."""
