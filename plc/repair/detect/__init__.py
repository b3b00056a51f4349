"""Damage of a recording, found without knowing anything of it."""
