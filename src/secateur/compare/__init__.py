"""Which is the best way to a network within a budget? The question, its arms, and the answer."""
