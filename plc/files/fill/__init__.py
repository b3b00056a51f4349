"""Fill gaps of recordings, where both sides of every gap are known.

Arrays come in with their gaps, and go out filled.
"""
