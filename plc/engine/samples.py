"""A caller's packets, float32 or int16, to the engine's rows and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.engine.config import StreamConfig
from plc.errors import PacketError
from plc_kernels.packet import pack_float32, pack_int16, unpack_float32, unpack_int16

Packet = NDArray[np.float32] | NDArray[np.int16]


class Samples:
    """Check packets; convert them to rows of float32 and back.

    Parameters
    ----------
    config : StreamConfig
        Of the stream.
    """

    __slots__ = ("_config", "_float_inbox", "_int16_inbox", "_integer")

    def __init__(self, config: StreamConfig) -> None:
        shape = (config.packet_samples, config.channels)
        self._config = config
        self._float_inbox = np.zeros(shape, np.float32)
        self._int16_inbox = np.zeros(shape, np.int16)
        self._integer = False

    def reset(self) -> None:
        """Return float32 again until a packet arrives."""
        self._integer = False

    def check(self, packet: Packet) -> None:
        """Raise a :class:`PacketError` unless a packet is of this stream."""
        n = self._config.packet_samples
        channels = self._config.channels
        if not isinstance(packet, np.ndarray) or packet.dtype not in (np.float32, np.int16):
            given = getattr(packet, "dtype", type(packet).__name__)
            raise PacketError(
                f"packet is {given}; push a numpy array of float32 (full scale 1.0) or int16, "
                "or None for a lost packet"
            )
        if packet.shape != (n, channels) and not (channels == 1 and packet.shape == (n,)):
            raise PacketError(
                f"packet has shape {packet.shape}; this stream takes ({n}, {channels}): "
                f"packet_samples={n}, channels={channels} at {self._config.sample_rate} Hz"
            )

    def check_missing(self, missing: Sequence[tuple[int, int]]) -> None:
        """Raise a :class:`PacketError` unless these are parts of a packet, in order."""
        n = self._config.packet_samples
        at = -1
        for begin, stop in missing:
            if not at < begin < stop <= n:
                raise PacketError(
                    f"missing is {list(missing)}; give parts of 0 to {n} in order, (begin, stop) "
                    "each, with something between them"
                )
            at = stop

    def check_out(self, out: Packet, packet: Packet | None) -> None:
        """Raise a :class:`PacketError` unless ``out`` can be written after this packet."""
        shape = (self._config.packet_samples, self._config.channels)
        integer = packet.dtype == np.int16 if packet is not None else self._integer
        wanted = np.dtype(np.int16 if integer else np.float32)
        if (
            not isinstance(out, np.ndarray)
            or out.shape != shape
            or out.dtype != wanted
            or not out.flags.c_contiguous
            or not out.flags.writeable
        ):
            raise PacketError(
                f"out must be a writable C-contiguous {wanted} array of shape {shape}"
            )

    def unpack(
        self, packet: Packet, missing: Sequence[tuple[int, int]], rows: NDArray[np.float32]
    ) -> bool:
        """Write a packet, missing parts as zeros, into rows; return whether it is sound."""
        self._integer = packet.dtype == np.int16
        inbox: Any = self._int16_inbox if self._integer else self._float_inbox
        unpack: Any = unpack_int16 if self._integer else unpack_float32
        # The kernels are compiled for one layout; this copy takes any: strided, read-only.
        np.copyto(inbox, packet.reshape(inbox.shape))
        for begin, stop in missing:
            inbox[begin:stop] = 0
        return bool(unpack(inbox, rows))

    def pack(self, rows: NDArray[np.float32], out: Packet | None) -> Packet:
        """Return rows, shape (channels, n), as a packet: ``out`` if it is given."""
        if out is None:
            out = self.empty(rows.shape[1])
        if self._integer:
            pack_int16(rows, out)  # type: ignore[arg-type]  # the dtype was checked
        else:
            pack_float32(rows, out)  # type: ignore[arg-type]  # the dtype was checked
        return out

    def empty(self, samples: int) -> Packet:
        """Return a new array of ``samples`` samples."""
        shape = (samples, self._config.channels)
        return np.empty(shape, np.int16) if self._integer else np.empty(shape, np.float32)
