"""Limits and constants that several layers share."""

MIN_SAMPLE_RATE = 8_000
MAX_SAMPLE_RATE = 192_000

MUSIC_RATE = 32_000
"""Lowest rate in Hz at which most streams are music."""

RECOVERY_MS = 2.5
"""Crossfade into the first received packets."""
