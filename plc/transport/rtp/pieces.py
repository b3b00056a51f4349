"""Pieces of sound with a time in, in any order and of any lengths; a steady stream out.

For sound that does not come by RTP: from a WebSocket, WebTransport or HTTP, of a decoder, or of a
program that speaks::

    put(samples, at) ──▶ ring ──▶ block ──▶ Concealer ──▶ line ──▶ take(n)
                         what      what is      made up     as many as
                         arrived   due                      are asked for

Where a piece stands and what is due is the timeline's (:mod:`plc_kernels.receive.pieces`), which is
that of RTP, and of a page and a program in C. It has no thread and no clock: time passes by
:meth:`PlayoutBuffer.take`. A stall (nothing of what is
due is there, nor anything behind it) makes the stream wait, so that no word is cut when the rest
comes; what it waited is left out again where the sender pauses, or by whole periods of the sound. A
hole with something behind it is lost, and is concealed at its time.
"""

import logging
from dataclasses import dataclass
from operator import index
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from plc.engine.runtime.threads import OneThread
from plc.engine.stream import warm
from plc.engine.stream.concealer import Concealer
from plc.engine.stream.config import OPEN, StreamSettings
from plc.engine.stream.samples import INT16, Bytes, Packet, Samples, as_signal, of_bytes
from plc.errors import ConfigError, PacketError, check_settings
from plc.transport.rtp.delay import MAX_DELAY_MS, warm_receiver
from plc_kernels.receive import entry, layout, pieces

MOST_AHEAD_S = 600.0
# Sound came, and none was heard for so long: that is said.
_SILENT_S = 0.5
# Of sound that waits, and of a piece that is far from all others.
_MOST_BYTES = 1e9
# So many pieces in a row have positions in another unit: that is said.
_OTHER_UNIT = 25
_OWN = "packet_ms", "lookahead", "delay_ms", "max_delay_ms", "most_ahead_s", "encoding"
_SETTINGS = "sample_rate", "channels", *_OWN, *StreamSettings.__annotations__
# Positions are less than this, so that their sums are numbers of 64 bits.
_FAR = 2**61

_log = logging.getLogger("plc")


@dataclass(slots=True)
class PlayoutBufferStats:
    """Counters of a playout buffer, in samples of each channel."""

    received_samples: int = 0
    """That were played, or wait to be."""
    duplicate_samples: int = 0
    """That had been received before, or lie before the first; they were left out."""
    late_samples: int = 0
    """Made up because they came too late: the stream waited for them, or went on without."""
    lost_samples: int = 0
    """Made up because they had not come when what is behind them had."""
    unsent_samples: int = 0
    """Made up while the sender paused, as far as the positions tell."""
    refused_samples: int = 0
    """NaN, infinite or above 1e6: as if they had not come."""
    overflow_samples: int = 0
    """Far from all others: further ahead than ``most_ahead_s``, or 2 s behind; left out."""
    jumps: int = 0
    """Times that positions began anew, somewhere else."""


class PlayoutBuffer:
    """One stream of pieces in, samples out.

    Parameters
    ----------
    sample_rate : int, of both, in Hz: 8000 to 192000
    channels : int, 1 to 8
    packet_ms, lookahead
        Of what is concealed at once, as for :class:`~plc.Concealer`; waiting for the far side of a
        gap delays all by so many packets.
    delay_ms : float
        How long the first piece waits. The delay is more where pieces come unevenly.
    max_delay_ms : float
        What the delay never exceeds by waiting for late pieces, up to 5000: 0 fixes the delay, and
        late pieces are lost.
    most_ahead_s : float
        How far ahead of what is played pieces may come, up to 600. Memory for so much, twice, is
        taken as sound comes: 12 MB for 60 s at 24 kHz, and 1 GB at most.
    encoding : {"int16", "mulaw"}, of bytes, put or taken: 16 bits (little-endian), or G.711
    **settings
        As for :class:`~plc.Concealer`.

    Attributes
    ----------
    concealer : Concealer, what makes up what is missing; its ``stats`` are its counters

    Raises
    ------
    ConfigError
        If a setting is out of range.

    Notes
    -----
    For one thread at a time, any one: a call while another is inside ``put``, ``end``, ``clear``,
    ``take`` or ``take_bytes`` raises :class:`~plc.errors.ConcurrentPushError` and changes nothing.
    Samples whose clock agrees come out bit for bit; a sender's clock that runs faster or slower is
    followed by at most 0.3 %, so slowly that nobody hears it.

    Examples
    --------
    >>> buffer = PlayoutBuffer(sample_rate=24_000, delay_ms=40.0)
    >>> buffer.put(np.zeros(480, np.int16))  # as it came; at=… where the sender says where
    480
    >>> samples, made_up = buffer.take(240)
    >>> samples.shape, made_up.shape
    ((240, 1), (240,))
    """

    def __init__(
        self,
        sample_rate: int = 48_000,
        channels: int = 1,
        *,
        packet_ms: float = 10.0,
        lookahead: int = 0,
        delay_ms: float = 40.0,
        max_delay_ms: float = 1000.0,
        most_ahead_s: float = 60.0,
        encoding: Literal["int16", "mulaw"] = "int16",
        **settings: Unpack[StreamSettings],
    ) -> None:
        check_settings("PlayoutBuffer", settings, _SETTINGS)
        given = {"delay_ms": delay_ms, "max_delay_ms": max_delay_ms, "most_ahead_s": most_ahead_s}
        for name, value in given.items():
            most = MOST_AHEAD_S if name == "most_ahead_s" else MAX_DELAY_MS
            if not 0.0 <= value <= most:
                raise ConfigError(f"{name} of PlayoutBuffer is {value!r}; give 0 to {most:g}")
        if encoding not in ("int16", "mulaw"):
            raise ConfigError(f"encoding of PlayoutBuffer is {encoding!r}; give int16 or mulaw")
        self.concealer = Concealer(
            sample_rate, channels, OPEN, lookahead, packet_ms=packet_ms, **settings
        )
        config = self.concealer.config
        self._rate, self._channels = config.sample_rate, config.channels
        self._form = layout.MULAW if encoding == "mulaw" else layout.INT16
        most_s = _MOST_BYTES / (8 * config.sample_rate * config.channels)
        if most_ahead_s > most_s:
            raise ConfigError(
                f"most_ahead_s of PlayoutBuffer is {most_ahead_s:g} s, above 1 GB of {channels} "
                f"channels at {sample_rate} Hz; give 0 to {int(most_s)}"
            )
        _warm_pieces()
        given_s = delay_ms / 1000.0, max_delay_ms / 1000.0, float(most_ahead_s)
        shape = self._rate, self._channels, config.packet_samples, config.lookahead
        self._line = _opened(*shape, *given_s)
        words = layout.INBOX, layout.MISSING, layout.PARTS, layout.RING
        arrays = (layout.TABLE.view(self._line, word) for word in words)
        self._inbox, self._missing, self._parts, self._ring = arrays
        self._half = b""
        """Bytes that are less than a sample of each channel."""
        self._inside = OneThread("PlayoutBuffer")
        self._row: tuple[int, int, int, int] | None = (0, 0, 0, 0)
        """Of the last piece: position, samples, pieces in another unit so far, OUT at the first."""
        self._told = 0
        """The sample of which it was said that none is heard."""

    @property
    def stats(self) -> PlayoutBufferStats:
        """The counters so far."""
        words = self._line
        held, starved = int(words[layout.HELD]), int(words[layout.STARVED])
        return PlayoutBufferStats(
            received_samples=int(words[layout.TAKEN_SAMPLES]),
            duplicate_samples=int(words[layout.DOUBLE_SAMPLES]),
            late_samples=int(words[layout.LATE_SAMPLES]) - held,
            lost_samples=int(words[layout.LOST_SAMPLES]) - starved,
            unsent_samples=int(words[layout.UNSENT]) + held + starved,
            refused_samples=int(words[layout.REFUSED_SAMPLES]),
            overflow_samples=int(words[layout.OVERFLOW_SAMPLES]),
            jumps=int(words[layout.JUMPS]),
        )

    @property
    def buffered_ms(self) -> float:
        """Duration of the samples that wait to be played."""
        return 1000.0 * int(entry.waiting(self._line)) / self._rate

    # ---- pieces in ------------------------------------------------------------------------------

    def put(
        self, samples: Packet | Samples | Bytes, at: int | None = None, *, at_s: float | None = None
    ) -> int:
        """Take a piece in; return how many samples are new, in time, or were set aside before.

        Parameters
        ----------
        samples : float32 or int16, shape (n, channels), or (n,) for one channel; or bytes
            Bytes are what ``encoding`` says, channels side by side, and need not end with a whole
            sample; a ``memoryview`` of numbers is what its format says.
        at : int, optional
            Where its first sample stands in the sender's stream, in samples. Through a pause
            positions go on as time does.
        at_s : float, optional
            The same in seconds. Without either it follows the piece before.

        Raises
        ------
        PacketError
            If it is of another shape or dtype, or ``at`` or ``at_s`` is no time; nothing is taken.
        """
        position = self._position(at, at_s)
        with self._inside as lost:
            self._go_on(lost)
            piece, form = self._as_piece(samples, position is not None)
            count = piece.size // self._channels
            if not count:
                return 0
            if position is not None:
                self._tell_unit(position, count)
            place = position or 0, position is not None
            return int(pieces.put(self._line, piece.ctypes.data, form, count, *place))

    def end(self) -> None:
        """Say that sound ends with the newest piece: silence follows it, until another comes."""
        with self._inside:
            self._half = b""
            pieces.end(self._line)

    def clear(self) -> None:
        """Drop all waiting samples, faded out in 5 ms; play the next piece at once, anywhere.

        Where ``max_delay_ms`` fixes the delay, the next piece has it, too.
        """
        with self._inside:
            self._half = b""
            pieces.clear(self._line)

    def _position(self, at: int | None, at_s: float | None) -> int | None:
        if at is not None and at_s is not None:
            raise PacketError("PlayoutBuffer.put got at and at_s; give one of them")
        if at_s is not None:
            if not isinstance(at_s, int | float | np.number) or not abs(at_s) < _FAR / self._rate:
                raise PacketError(f"at_s of PlayoutBuffer.put is {at_s!r}; give seconds")
            return round(float(at_s) * self._rate)
        if at is None:
            return None
        try:
            whole = index(at)
        except TypeError:
            whole = _FAR
        if not abs(whole) < _FAR:
            raise PacketError(
                f"at of PlayoutBuffer.put is {at!r}; give samples, a whole number, or at_s="
            )
        return whole

    def _as_piece(
        self, samples: Packet | Samples | Bytes, is_placed: bool
    ) -> tuple[NDArray[Any], int]:
        """Return a piece's numbers, channels side by side, and their format."""
        channels = self._channels
        if isinstance(samples, Bytes):
            if not isinstance(samples, memoryview) or samples.format in ("B", "c"):
                # What was left of the piece before is not the beginning of one that has a place.
                samples = self._whole_samples(bytes(samples) if is_placed else self._half + samples)
                if self._form == layout.MULAW:
                    return np.frombuffer(samples, np.uint8), layout.MULAW
            samples = of_bytes(samples, channels, "a piece of PlayoutBuffer")
        empty = np.zeros((0, channels), np.float32)
        array = as_signal(samples, is_pushed=True) if np.size(samples) else empty
        if array.size != len(array) * channels:
            raise PacketError(
                f"a piece of PlayoutBuffer has shape {array.shape}; give (n, {channels})"
            )
        form = layout.INT16 if array.dtype == INT16 else layout.FLOAT32
        return np.ascontiguousarray(array), form

    def _whole_samples(self, data: bytes) -> bytes:
        """Return bytes up to a whole sample of each channel; keep the rest."""
        each = self._channels * (2 if self._form == layout.INT16 else 1)
        whole = len(data) // each * each
        self._half = data[whole:]
        return data[:whole]

    # ---- samples out ----------------------------------------------------------------------------

    def take(self, samples: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the next samples to play, and which of them were made up.

        Samples are float32, shape (samples, channels): silence until the first piece has waited its
        time. The others are bool, shape (samples,), True where nothing had arrived; a stream with
        lookahead is later by that.
        """
        count = _counted(samples)
        played = np.zeros((count, self._channels), np.float32)
        return played, self._take(played, layout.FLOAT32)

    def take_bytes(self, samples: int) -> tuple[bytes, NDArray[np.bool_]]:
        """Return the next samples as :meth:`take` does, but as bytes of ``encoding``."""
        kind = np.dtype(np.uint8 if self._form == layout.MULAW else np.int16)
        played = np.zeros((_counted(samples), self._channels), kind)
        made_up = self._take(played, self._form)
        return played.tobytes(), made_up

    def _take(self, played: NDArray[Any], form: int) -> NDArray[np.bool_]:
        """Write the next samples; return which of them were made up."""
        marks = np.zeros(len(played), np.uint8)
        done = 0
        with self._inside as lost:
            self._go_on(lost)
            while True:
                to = played.ctypes.data + done * played.itemsize * self._channels
                left = len(played) - done
                done += int(pieces.give(self._line, to, form, marks.ctypes.data + done, left))
                if done == len(played):
                    return marks.view(np.bool_)
                self._play()

    def _go_on(self, lost: bool) -> None:
        """Begin anew in a fork whose parent's thread was inside."""
        if lost:
            entry.forget(self._line)

    def _play(self) -> None:
        while (parts := pieces.due(self._line)) != layout.NONE:
            behind = self._behind()
            if parts == layout.ALL:
                self.concealer.push(None, self._inbox, behind=behind)
            else:
                missing = self._missing[:parts].tolist()
                self.concealer.push(self._inbox, self._inbox, tuple(map(tuple, missing)), behind)
            pieces.append(self._line)
            self._tell_silence()

    def _behind(self) -> list[tuple[int, NDArray[np.float32]]]:
        rows = pieces.known_behind(self._line, self.concealer.behind_samples)
        return [
            (distance, self._ring[cell : cell + samples])
            for _, cell, samples, distance in self._parts[:rows].tolist()
        ]

    def _tell_silence(self) -> None:
        """Say once a stretch that sound waits, and none is heard."""
        out, heard = int(self._line[layout.OUT]), int(self._line[layout.HEARD])
        silent_s = (out - heard) / self._rate
        if silent_s >= _SILENT_S and self._told <= heard:
            self._told = out
            _log.warning(
                "PlayoutBuffer: sound waits, and none was heard for %.1f s: it stands %.1f s ahead "
                "of what is played; give at= as the sender counts, or none",
                silent_s,
                self.buffered_ms / 1000.0,
            )

    def _tell_unit(self, at: int, samples: int) -> None:
        """Say once that positions advance by far less than samples come, or by far more.

        By more: though sound comes as fast as it is played, so that none of it is lost.
        """
        if self._row is None:
            return
        before, count, row, since = self._row
        step, out = at - before, int(self._line[layout.OUT])
        row = row + 1 if 0 < 4 * step <= count or 0 < 2 * count <= step else 0
        since = since if row else out
        self._row = at, samples, row, since
        if row == _OTHER_UNIT and (step < count or 4 * row * count >= 3 * (out - since)):
            self._row = None
            _log.warning(
                "PlayoutBuffer: positions advance by %d for %d samples; give at= in samples of "
                "each channel, or at_s= in seconds",
                step,
                count,
            )


def _counted(samples: int) -> int:
    try:
        count = index(samples)
    except TypeError:
        count = -1
    if count < 0:
        raise ConfigError(f"samples of PlayoutBuffer.take is {samples!r}; give 0 or more")
    return count


def _opened(*settings: Any) -> NDArray[np.int64]:
    header = np.zeros(layout.HEADER, np.int64)
    line = np.zeros(pieces.settle(header, *settings) // 8, np.int64)
    line[: layout.HEADER] = header
    entry.forget(line)
    return line


def _run_pieces() -> None:
    line = _opened(8000, 1, 160, 0, 0.02, 0.1, 1.0)
    some = np.zeros(160, np.float32)
    pieces.put(line, some.ctypes.data, layout.FLOAT32, 160, 0, True)
    pieces.due(line)
    pieces.known_behind(line, 160)
    pieces.append(line)
    pieces.give(line, some.ctypes.data, layout.FLOAT32, 0, 160)
    entry.waiting(line)
    pieces.end(line)
    pieces.clear(line)


_warm_pieces = warm.of(pieces.KERNELS, _run_pieces, functions=90)
WARM_UPS = warm.warm_up, warm_receiver, _warm_pieces
"""Of all that plays."""


def warm_up() -> None:
    """Compile or load every kernel of streams, buffers and receivers once, then forbid compiling.

    From then on an unforeseen type raises ``TypeError`` in place of a stall of seconds. A process's
    first call takes a second from a warm cache and a minute from an empty one, for which
    other processes wait; further calls return at once. What is opened without it warms its own.
    """
    for each in WARM_UPS:
        each()
