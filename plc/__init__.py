"""Real-time packet-loss concealment for live music and speech.

One stream, packet by packet::

    from plc import Concealer

    concealer = Concealer(sample_rate=48_000, channels=2, packet_samples=480)
    for packet in stream:  # None where one was lost
        play(concealer.push(packet))

Many streams: :class:`ConcealerPool`; pieces that come unevenly: :class:`PlayoutBuffer`; whole
arrays: :func:`conceal` with losses, :func:`inpaint` with gaps, :func:`detect` to find them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plc.engine.many.pool import ConcealerPool
    from plc.engine.stream.concealer import Concealer
    from plc.engine.stream.config import StreamConfig
    from plc.engine.stream.methods import METHODS
    from plc.engine.stream.stats import Stats
    from plc.errors import (
        AudioFileError,
        CapacityError,
        ConcurrentPushError,
        ConfigError,
        MissingExtraError,
        ModelError,
        PacketError,
        PlcError,
        SnapshotError,
        TraceError,
    )
    from plc.files.fill.signals import inpaint
    from plc.files.whole import conceal
    from plc.restore.detect.findings import Finding
    from plc.restore.detect.search import Detector, detect
    from plc.transport.rtp.pieces import PlayoutBuffer, warm_up

__version__ = "0.2.0"

__all__ = [
    "METHODS",
    "AudioFileError",
    "CapacityError",
    "Concealer",
    "ConcealerPool",
    "ConcurrentPushError",
    "ConfigError",
    "Detector",
    "Finding",
    "MissingExtraError",
    "ModelError",
    "PacketError",
    "PlayoutBuffer",
    "PlcError",
    "SnapshotError",
    "Stats",
    "StreamConfig",
    "TraceError",
    "conceal",
    "detect",
    "inpaint",
    "warm_up",
]

# Where each name lives. Loaded when it is first asked for: numba and the kernels take most of a
# second, which `plc --help` and a program that only reads `plc.errors` need not wait for.
_HOMES = {
    "METHODS": "plc.engine.stream.methods",
    "AudioFileError": "plc.errors",
    "CapacityError": "plc.errors",
    "Concealer": "plc.engine.stream.concealer",
    "ConcealerPool": "plc.engine.many.pool",
    "ConcurrentPushError": "plc.errors",
    "ConfigError": "plc.errors",
    "Detector": "plc.restore.detect.search",
    "Finding": "plc.restore.detect.findings",
    "MissingExtraError": "plc.errors",
    "ModelError": "plc.errors",
    "PacketError": "plc.errors",
    "PlayoutBuffer": "plc.transport.rtp.pieces",
    "PlcError": "plc.errors",
    "SnapshotError": "plc.errors",
    "Stats": "plc.engine.stream.stats",
    "StreamConfig": "plc.engine.stream.config",
    "TraceError": "plc.errors",
    "conceal": "plc.files.whole",
    "detect": "plc.restore.detect.search",
    "inpaint": "plc.files.fill.signals",
    "warm_up": "plc.transport.rtp.pieces",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, loaded or not, and the version."""
    return sorted([*__all__, "__version__"])
