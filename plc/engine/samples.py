"""Checks of what callers push."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plc.engine.config import StreamConfig
from plc.errors import PacketError

Packet = NDArray[np.float32] | NDArray[np.int16]

_FLOAT32, _INT16 = np.dtype(np.float32), np.dtype(np.int16)


def check_packet(packet: Packet, config: StreamConfig) -> bool:
    """Return whether a packet is of int16; raise :class:`PacketError` unless it is of the stream.

    Parameters
    ----------
    packet : float32 or int16, shape (packet_samples, channels), or (packet_samples,) for one
    config : StreamConfig
        Of the stream.
    """
    n, channels = config.packet_samples, config.channels
    if not isinstance(packet, np.ndarray) or packet.dtype not in (_FLOAT32, _INT16):
        given = getattr(packet, "dtype", type(packet).__name__)
        raise PacketError(
            f"packet is {given}; push a numpy array of float32 (full scale 1.0) or int16, "
            "or None for a lost packet"
        )
    if packet.shape != (n, channels) and not (channels == 1 and packet.shape == (n,)):
        raise PacketError(
            f"packet has shape {packet.shape}; this stream takes ({n}, {channels}): "
            f"packet_samples={n}, channels={channels} at {config.sample_rate} Hz"
        )
    return packet.dtype == _INT16


def check_missing(missing: Sequence[tuple[int, int]], config: StreamConfig) -> None:
    """Raise a :class:`PacketError` unless these are parts of a packet, in order."""
    n = config.packet_samples
    at = -1
    for begin, stop in missing:
        if not at < begin < stop <= n:
            raise PacketError(
                f"missing is {list(missing)}; give parts of 0 to {n} in order, (begin, stop) "
                "each, with something between them"
            )
        at = stop


def check_out(out: Packet, integer: bool, shape: tuple[int, ...]) -> None:
    """Raise a :class:`PacketError` unless ``out`` takes such samples."""
    wanted = _INT16 if integer else _FLOAT32
    if (
        not isinstance(out, np.ndarray)
        or out.shape != shape
        or out.dtype != wanted
        or not out.flags.c_contiguous
        or not out.flags.writeable
    ):
        raise PacketError(f"out must be a writable C-contiguous {wanted} array of shape {shape}")
