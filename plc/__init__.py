"""Real-time packet-loss concealment for live music and speech.

One stream, packet by packet::

    from plc import Concealer

    concealer = Concealer(sample_rate=48_000, channels=2, packet_samples=480)
    for packet in stream:  # None where one was lost
        play(concealer.push(packet))

Whole arrays: :func:`conceal` with a trace of losses, :func:`inpaint` with gaps.
"""

from plc.concealer import Concealer
from plc.config import StreamConfig
from plc.errors import (
    AudioFileError,
    ConfigError,
    MissingExtraError,
    PacketError,
    PlcError,
    TraceError,
)
from plc.inpainting import inpaint
from plc.methods import METHODS
from plc.stats import Stats
from plc.warm import warm_up
from plc.whole import conceal

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "AudioFileError",
    "Concealer",
    "ConfigError",
    "MissingExtraError",
    "PacketError",
    "PlcError",
    "Stats",
    "StreamConfig",
    "TraceError",
    "conceal",
    "inpaint",
    "warm_up",
]
