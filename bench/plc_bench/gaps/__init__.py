"""How well gaps of known place and both sides are filled, and the paper's tables."""
