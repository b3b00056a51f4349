"""Limits and constants that several layers share."""

MIN_SAMPLE_RATE = 8_000
MAX_SAMPLE_RATE = 192_000

MUSIC_RATE = 32_000
"""Rate from which on most streams are music."""

# Crossfade into the first received packets. PLCMOS of speech, packets of 20 ms: 1 to 2.5 ms 3.39,
# 5 ms 3.38, 10 ms 3.36.
RECOVERY_MS = 2.5
