"""Measurements of papers and of their networks."""
