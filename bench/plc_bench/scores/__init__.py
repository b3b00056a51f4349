"""Scores of concealed audio: sample by sample, of spectra, and as listeners would judge.

In come signals and masks; out come numbers.
"""
