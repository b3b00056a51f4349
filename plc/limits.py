"""Limits and constants that several layers share."""

from plc_kernels.stream.layout import MUSIC_RATE as MUSIC_RATE
from plc_kernels.stream.layout import RECOVERY_MS as RECOVERY_MS

MIN_SAMPLE_RATE = 8_000
MAX_SAMPLE_RATE = 192_000

FILE_MAX_SAMPLE_RATE = 768_000
"""Of recordings that are detected in, inpainted or repaired; a stream has the limit above."""
FILE_MAX_CHANNELS = 64
