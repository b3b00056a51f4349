"""Fills of gaps with both sides known, and the paper's tables."""
