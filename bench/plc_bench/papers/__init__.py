"""Measurements of papers, and of what their networks make."""
