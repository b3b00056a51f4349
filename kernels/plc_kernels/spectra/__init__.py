"""Spectra: transforms, and phases made from magnitudes."""
