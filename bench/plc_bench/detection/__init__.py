"""How well damage is found: damage made on purpose, and what the detector says of it."""
