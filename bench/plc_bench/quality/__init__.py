"""How well streams are concealed: conditions, contenders, studies and their tables."""
