"""Limits and constants that several layers share."""

from plc_kernels.stream.layout import MUSIC_RATE as MUSIC_RATE
from plc_kernels.stream.layout import RECOVERY_MS as RECOVERY_MS

MIN_SAMPLE_RATE = 8_000
MAX_SAMPLE_RATE = 192_000
