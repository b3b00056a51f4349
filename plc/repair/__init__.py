"""Repair recordings, where both sides of every gap are known.

Arrays or files come in with their gaps, and go out filled.
"""
