"""Pieces of sound with a time in, in any order and of any lengths; a steady stream out.

For sound that does not come by RTP: from a WebSocket, WebTransport or HTTP, of a decoder, or of a
program that speaks::

    put(samples, at) ──▶ ring ──▶ block ──▶ Concealer ──▶ line ──▶ take(n)
                         what      what is      made up     as many as
                         arrived   due                      are asked for

Where a piece stands and what is due is the timeline's (:mod:`plc_kernels.receive`), as of RTP. It
has no thread and no clock: time passes by :meth:`PlayoutBuffer.take`. A stall (nothing of what is
due is there, nor anything behind it) makes the stream wait, so that no word is cut when the rest
comes; what it waited is left out again where the sender pauses, or by whole periods of the sound. A
hole with something behind it is lost, and is concealed at its time.
"""

import logging
from dataclasses import dataclass
from operator import index
from typing import Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from plc.engine.concealer import Concealer
from plc.engine.config import OPEN, StreamSettings
from plc.engine.loss import gaps_of
from plc.engine.samples import INT16, Bytes, Packet, Samples, as_signal, of_bytes
from plc.errors import ConfigError, PacketError, keywords_in_words
from plc.transport.rtp.codecs import G711
from plc.transport.rtp.delay import MAX_DELAY_MS, DelayConfig, DelayMode, Receiver, warm_receiver
from plc_kernels.receive import entry, layout
from plc_kernels.signal.packet import INT16_SCALE, LARGEST

MOST_AHEAD_S = 600.0
# What comes later than this is far from all others, and no double.
_PAST_S = 2.0
# Stretches without a hole that wait.
_APART_MOST = 4096
_FADE_S = 0.005
# A piece has no more stretches of finite samples; further ones are refused.
_MOST_RUNS = 64
# Sound came, and none was heard for so long: that is said.
_SILENT_S = 0.5
# Positions are less than this, so that their sums are numbers of 64 bits.
_FAR = 2**61

_log = logging.getLogger("plc")


@dataclass(slots=True)
class PlayoutBufferStats:
    """Counters of a playout buffer, in samples of each channel."""

    received_samples: int = 0
    """That were played, or wait to be."""
    duplicate_samples: int = 0
    """That had been received before, and were left out."""
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
    sample_rate : int
        Of both, in Hz: 8000 to 192000.
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
        How far ahead of what is played pieces may come, up to 600.
    encoding : {"int16", "mulaw"}
        Of bytes, put or taken: 16 bits (little-endian), or G.711.
    **settings
        As for :class:`~plc.Concealer`.

    Attributes
    ----------
    concealer : Concealer
        What makes up what is missing; its ``stats`` are its counters.

    Raises
    ------
    ConfigError
        If a setting is out of range.

    Notes
    -----
    For one thread at a time. Samples whose clock agrees come out bit for bit; a sender's clock that
    runs faster or slower is followed by at most 0.3 %, so slowly that nobody hears it.

    Examples
    --------
    >>> buffer = PlayoutBuffer(sample_rate=24_000, delay_ms=40.0)
    >>> buffer.put(np.zeros(480, np.int16))  # as it came; at=… where the sender says where
    480
    >>> samples, made_up = buffer.take(240)
    >>> samples.shape, made_up.shape
    ((240, 1), (240,))
    """

    @keywords_in_words
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
        self._rate, self._block = config.sample_rate, config.packet_samples
        self._law = G711("pcmu", self._rate, config.channels) if encoding == "mulaw" else None
        delay = DelayConfig(
            mode=DelayMode.FIXED if max_delay_ms <= delay_ms else DelayMode.FLOOR,
            delay_ms=delay_ms,
            max_delay_ms=max(max_delay_ms, delay_ms, 1.0),
        )
        self._ahead = max(self._samples(most_ahead_s), 2 * self._block)
        warm_receiver()
        self._receiver = Receiver(
            delay,
            {
                layout.RATE: self._rate,
                layout.BLOCK_SAMPLES: self._block,
                layout.CHANNELS: config.channels,
                layout.ROOM: _APART_MOST,
                layout.AHEAD_MOST: self._ahead,
                layout.PAST_MOST: self._samples(_PAST_S),
            },
        )
        self._line = self._receiver.block
        self._ring = np.zeros((self._ahead + self._samples(_PAST_S), config.channels), np.float32)
        self._stray: NDArray[np.float32] | None = None
        """A piece whose position is far from all others."""
        self._half = b""
        """Bytes that are less than a sample of each channel."""
        self._left = np.zeros((config.channels + 1, 0), np.float32)
        self._out = self._taken = 0
        """Samples that were played, and of them those taken."""
        self._counts = PlayoutBufferStats()
        self._heard = self._told = 0
        """The sample of which sound that had come was pulled last, or none waited; of which it was
        said that none is heard."""

    def _samples(self, seconds: float) -> int:
        return round(seconds * self._rate)

    @property
    def stats(self) -> PlayoutBufferStats:
        """The counters so far."""
        line, counts = self._line, self._counts
        held, starved = int(line[layout.HELD]), int(line[layout.STARVED])
        counts.late_samples = int(line[layout.LATE_SAMPLES]) - held
        counts.lost_samples = int(line[layout.LOST_SAMPLES]) - starved
        counts.unsent_samples = int(line[layout.UNSENT]) + held + starved
        counts.duplicate_samples = int(line[layout.DOUBLE_SAMPLES])
        counts.jumps = int(line[layout.JUMPS])
        return counts

    @property
    def buffered_ms(self) -> float:
        """Duration of the samples that wait to be played."""
        return 1000.0 * int(entry.waiting(self._line)) / self._rate

    # ---- pieces in ------------------------------------------------------------------------------

    def put(
        self,
        samples: Packet | Samples | Bytes,
        at: int | None = None,
        *,
        at_s: float | None = None,
    ) -> int:
        """Take a piece in; return how many of its samples are new, and in time.

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
        piece = self._as_piece(samples)
        return self._put(piece, position) if piece.size else 0

    def end(self) -> None:
        """Say that sound ends with the newest piece: silence follows it, until another comes."""
        self._half = b""
        entry.end(self._line)

    def clear(self) -> None:
        """Drop all waiting samples, faded out in 5 ms; play the next piece at once, anywhere."""
        self._half, self._stray = b"", None
        gains = 1.0 - np.arange(self._left.shape[1], dtype=np.float32) / self._samples(_FADE_S)
        self._left *= np.maximum(0.0, gains)
        entry.interrupt(self._line)

    def _position(self, at: int | None, at_s: float | None) -> int | None:
        if at is not None and at_s is not None:
            raise PacketError("PlayoutBuffer.put got at and at_s; give one of them")
        if at_s is not None:
            if not isinstance(at_s, int | float | np.number) or not abs(at_s) < _FAR / self._rate:
                raise PacketError(f"at_s of PlayoutBuffer.put is {at_s!r}; give seconds")
            return self._samples(float(at_s))
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

    def _as_piece(self, samples: Packet | Samples | Bytes) -> NDArray[np.float32]:
        """Return a piece as float32, shape (n, channels)."""
        channels = self._ring.shape[1]
        if isinstance(samples, Bytes):
            if not isinstance(samples, memoryview) or samples.format in ("B", "c"):
                samples = self._whole_samples(bytes(samples))
                if self._law is not None:
                    return np.asarray(self._law.decode(samples), np.float32)
            samples = of_bytes(samples, channels, "a piece of PlayoutBuffer")
        empty = np.zeros((0, channels), np.float32)
        array = as_signal(samples, is_pushed=True) if np.size(samples) else empty
        if array.size != len(array) * channels:
            raise PacketError(
                f"a piece of PlayoutBuffer has shape {array.shape}; give (n, {channels})"
            )
        scale = INT16_SCALE if array.dtype == INT16 else 1.0
        return (array.reshape(-1, channels) / scale).astype(np.float32)

    def _whole_samples(self, data: bytes) -> bytes:
        """Return bytes with those that were left, up to a whole sample of each channel."""
        data = self._half + data
        each = self._ring.shape[1] * (2 if self._law is None else 1)
        whole = len(data) // each * each
        self._half = data[whole:]
        return data[:whole]

    def _put(self, piece: NDArray[np.float32], position: int | None) -> int:
        """Lay a piece where the timeline says."""
        line, now_s = self._line, self._taken / self._rate
        verdict = entry.take_piece(line, position or 0, position is not None, len(piece), now_s)
        stray, self._stray = self._stray, None
        if verdict == layout.STRAY:
            self._stray = piece
            self._counts.overflow_samples += len(piece)
            return 0
        if verdict == layout.JUMPED and stray is not None:
            self._counts.overflow_samples -= len(stray)
            return self._put(stray, None) + self._put(piece, None)
        return self._lay(piece, int(line[layout.GIVEN_START]))

    def _lay(self, piece: NDArray[np.float32], start: int) -> int:
        """Write a piece's finite samples into the ring; return how many are new."""
        line, counts = self._line, self._counts
        room = self._ahead
        if line[layout.BEGUN]:
            room = max(0, min(int(line[layout.POSITION]) - start, 0) + room)
        counts.overflow_samples += max(0, len(piece) - room)
        piece = piece[:room]
        sound = np.asarray((np.abs(piece) <= LARGEST).all(axis=1))
        counts.refused_samples += len(piece) - int(np.count_nonzero(sound))
        taken = 0
        runs = gaps_of(sound, 1)
        counts.refused_samples += sum(stop - begin for begin, stop in runs[_MOST_RUNS:])
        for begin, stop in runs[:_MOST_RUNS]:
            new = int(entry.lay(line, start + begin, stop - begin))
            if new < 0:
                counts.overflow_samples += stop - begin
                continue
            where = np.arange(line[layout.GIVEN_START], start + stop) % len(self._ring)
            self._ring[where] = piece[stop - len(where) : stop]
            taken += new
        counts.received_samples += taken
        return taken

    # ---- samples out ----------------------------------------------------------------------------

    def take(self, samples: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the next samples to play, and which of them were made up.

        Returns
        -------
        float32, shape (samples, channels)
            Silence until the first piece has waited its time.
        bool, shape (samples,)
            True where nothing had arrived. A stream with lookahead is later by that.
        """
        try:
            count = index(samples)
        except TypeError:
            count = -1
        if count < 0:
            raise ConfigError(f"samples of PlayoutBuffer.take is {samples!r}; give 0 or more")
        blocks = [self._left]
        missing = count - self._left.shape[1]
        while missing > 0:
            blocks.append(self._tick())
            missing -= self._block
        joined = np.concatenate(blocks, axis=1)
        self._left = joined[:, count:].copy()
        self._taken += count
        return np.ascontiguousarray(joined[:-1, :count].T), joined[-1, :count] > 0.5

    def take_bytes(self, samples: int) -> bytes:
        """Return the next samples to play as bytes of ``encoding``, made up ones among them."""
        played, _ = self.take(samples)
        if self._law is not None:
            return self._law.encode(played)
        return bytes(np.rint(np.clip(played * INT16_SCALE, -32768, 32767)).astype("<i2"))

    def _tick(self) -> NDArray[np.float32]:
        """Return a block to play; below the channels a row of marks."""
        now_s = self._out / self._rate
        while entry.play(self._line, now_s) != layout.READY:
            self._pull(now_s)
        self._out += self._block
        return self._receiver.played.copy()

    def _pull(self, now_s: float) -> None:
        """Append the block that is due to the line."""
        line, inbox = self._line, self._receiver.inbox
        if entry.pull(line, now_s) == layout.WAIT:
            self._heard = self._out
            return
        missing = np.ones(self._block, np.bool_)
        for _, place, samples, at in self._receiver.parts[: line[layout.PARTS_COUNT]].tolist():
            where = np.arange(place, place + samples) % len(self._ring)
            inbox[at : at + samples] = self._ring[where]
            missing[at : at + samples] = False
        if not line[layout.BEGUN]:  # behind the end is silence
            inbox[missing] = 0.0
            missing[:] = False
        if missing.all():
            self.concealer.push(None, inbox)
        else:
            self._heard = self._out
            self.concealer.push(inbox, inbox, tuple(gaps_of(missing, 1)))
        self._receiver.marks[:] = self.concealer.made_up
        entry.append(line)
        self._tell_silence()

    def _tell_silence(self) -> None:
        """Say once a stretch that sound waits, and none is heard."""
        if not self._line[layout.COUNT]:
            self._heard = self._out
        silent = self._out - self._heard
        if silent >= self._samples(_SILENT_S) and self._told <= self._heard:
            self._told = self._out
            _log.warning(
                "PlayoutBuffer: sound waits, and none was heard for %.1f s: it stands %.1f s ahead "
                "of what is played; give at= as the sender counts, or none",
                silent / self._rate,
                (entry.waiting(self._line)) / self._rate,
            )
