"""A concealer for other languages: caller's memory, one format, flags."""

import contextlib
from dataclasses import asdict, dataclass, field
from enum import IntEnum, IntFlag

import numpy as np

from plc.engine.concealer import Concealer
from plc.engine.config import StreamConfig
from plc.engine.samples import Packet
from plc.errors import ConfigError, PlcError, not_copied

_FULL_SCALE = 32768.0


class Format(IntEnum):
    """Format of a sample; little-endian where bytes travel."""

    FLOAT32 = 1
    """Full scale 1.0."""
    INT16 = 2

    @property
    def dtype(self) -> "np.dtype[np.float32] | np.dtype[np.int16]":
        """As numpy calls it."""
        return np.dtype(np.float32) if self is Format.FLOAT32 else np.dtype(np.int16)


class Flag(IntFlag):
    """Outcome of a packet."""

    CONCEALED = 1
    """The samples that came out were made up."""
    CROSSFADED = 2
    """They were received, but begin in a crossfade out of a concealment."""
    REFUSED = 4
    """The packet that went in had a sample that is NaN, infinite or above 1e6: lost."""


# Sums of an IntFlag take microseconds.
_CONCEALED, _CROSSFADED, _REFUSED = (int(flag) for flag in Flag)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedConfig:
    """Settings of a stream, and how its samples are stored.

    Parameters
    ----------
    stream : StreamConfig
        Settings of the concealer.
    format : Format
        Of the packets, in and out.

    Raises
    ------
    ConfigError
        If the format is unknown.
    """

    stream: StreamConfig = field(default_factory=StreamConfig)
    format: Format = Format.FLOAT32

    def __post_init__(self) -> None:
        """Check the format."""
        if self.format not in tuple(Format):
            raise ConfigError(f"format is {self.format!r}; give 1 (float32) or 2 (int16)")
        object.__setattr__(self, "format", Format(self.format))

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a packet: (packet_samples, channels)."""
        return self.stream.packet_samples, self.stream.channels

    @property
    def packet_bytes(self) -> int:
        """Bytes of a packet."""
        return self.stream.packet_samples * self.stream.channels * self.format.dtype.itemsize


class EmbeddedStream:
    """One stream, opened.

    Parameters
    ----------
    config : EmbeddedConfig
        Its settings.

    Attributes
    ----------
    concealer : Concealer
        What does the work.
    shape : tuple of int
        Of a packet: (packet_samples, channels).
    packet_bytes : int
        Of a packet.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ModelError, MissingExtraError
        If the model is not sound, or ONNX Runtime is not installed.
    """

    def __init__(self, config: EmbeddedConfig) -> None:
        self.config = config
        self.concealer = Concealer(**asdict(config.stream))
        self.shape = config.shape
        self.packet_bytes = config.packet_bytes
        self._dtype = config.format.dtype
        self._anything = self._dtype == np.float32

    __reduce_ex__ = not_copied("open another of the same config, or copy its concealer")

    @property
    def tail_samples(self) -> int:
        """Samples of each channel that :meth:`flush` writes."""
        return self.concealer.delay

    def view(self, memory: object) -> Packet:
        """Return a buffer of ``packet_bytes`` as a packet, without a copy."""
        return as_packet(memory, self.config).reshape(self.shape)

    def push(self, packet: Packet | None, out: Packet) -> int:
        """Take the next packet, and write the packet due for playing.

        Parameters
        ----------
        packet : shape (packet_samples, channels), or None
            In the stream's format; None: lost.
        out : the same shape, written
            C-contiguous; may be ``packet`` itself.

        Returns
        -------
        int
            Flags of :class:`Flag`.
        """
        stats = self.concealer.stats
        concealed = stats.concealed_samples
        crossfaded = stats.crossfaded_samples
        refused = stats.invalid_packets
        if packet is not None:
            self._anything = True
        if self._anything:
            self.concealer.push(packet, out)
        else:
            _to_int16(self.concealer.push(None), out)
        return (
            (stats.concealed_samples != concealed) * _CONCEALED
            + (stats.crossfaded_samples != crossfaded) * _CROSSFADED
            + (stats.invalid_packets != refused) * _REFUSED
        )

    def flush(self, out: Packet) -> None:
        """Write the lookahead's samples, and reset all but the statistics.

        Parameters
        ----------
        out : shape (tail_samples, channels), written
            In the stream's format.
        """
        tail = self.concealer.flush()
        if tail.dtype == out.dtype:
            out[:] = tail
        else:
            _to_int16(tail, out)
        self._anything = self._dtype == np.float32

    def close(self) -> None:
        """End the threads that it has."""
        self.concealer.close()


def prepare(config: EmbeddedConfig) -> None:
    """Compile and load the needs of such a stream; errors are ignored."""
    with contextlib.suppress(PlcError):
        EmbeddedStream(config).close()


def as_packet(memory: object, config: EmbeddedConfig) -> Packet:
    """Return a view of a buffer of whole samples, shape (n, channels)."""
    samples: Packet = np.frombuffer(memory, config.format.dtype)  # type: ignore[call-overload]
    return samples.reshape(-1, config.stream.channels)


def _to_int16(samples: Packet, out: Packet) -> None:
    """Write float32 as int16: before any packet came, the concealer does not know the format."""
    np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1, out=samples)
    out[:] = samples
