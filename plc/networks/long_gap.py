"""Fill long gaps of music by GACELA: a network that invents what may have been [1]_."""

SAMPLE_RATE = 22_050
"""In Hz; the networks know no other."""
WINDOW_SAMPLES, HOP_SAMPLES = 1024, 256
BINS = WINDOW_SAMPLES // 2
"""Of the networks: all but the topmost."""
DECADES = 5.0
"""Magnitudes that levels from -1 to 1 tell apart."""
EDGE_FRAMES = 2
"""Frames on either side of those of a gap that miss some of their samples."""
KIND = "gacela"
from plc.runtime.providers import Signature
def gap_signature(sides, noise, frames):
    return Signature((("sides", sides), ("noise", noise)), ("gap", (sides[0], BINS, frames)))
