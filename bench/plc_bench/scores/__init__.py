"""Scores of what was played: sample by sample, of spectra, and as listeners would judge.

In come signals and masks; out come numbers.
"""
