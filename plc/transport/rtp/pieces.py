"""Pieces of sound with a time in, in any order and of any lengths; a steady stream out.

For sound that does not come by RTP: from a WebSocket, WebTransport or HTTP, of a decoder, or of a
program that speaks::

    put(samples, at) ──▶ ring ──▶ block ──▶ Concealer ──▶ line ──▶ take(n)
                         what      what is      made up     as many as
                         arrived   due                      are asked for

Nothing here has a thread or a clock: time passes by :meth:`PlayoutBuffer.take`. A stall (nothing of
what is due is there, nor anything behind it) makes the stream wait, so that no word is cut when the
rest comes; what it waited is left out again where the sender pauses. A hole with something behind
it is lost, and is concealed at its time.
"""

import math
from dataclasses import dataclass
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from plc.engine.concealer import Concealer
from plc.engine.config import OPEN, StreamSettings
from plc.engine.loss import gaps_of
from plc.engine.samples import INT16, Bytes, Packet, Samples, as_signal, of_bytes
from plc.errors import ConfigError, PacketError, keywords_in_words
from plc.transport.rtp.delay import DriftControl, Line
from plc_kernels.signal.packet import INT16_SCALE, LARGEST

MOST_AHEAD_S = 600.0
# What was played is remembered for so long, to tell what comes twice from what comes late.
_PAST_S = 2.0
# A stall is no shorter: a sender's clock that is slower would make many of a sample each.
_LEAST_STALL_S = 0.01
# By how much the slowest pieces of so long were late, twice over, stays in the delay.
_MEMORY_S = 15.0
# States of a sample: what was due before it came was counted as one of the first two.
_LOST, _UNSENT, _THERE = 1, 2, 3
# So often the speed follows the sender's clock, if it is so far off, behind or ahead.
_FOLLOW_S, _DEAD_BAND_S = 2.0, (0.01, 0.02)


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
    """Further ahead than ``most_ahead_s``, and left out."""
    jumps: int = 0
    """Times that positions began anew, somewhere else."""


class PlayoutBuffer:
    """One stream of pieces in, samples out.

    Parameters
    ----------
    sample_rate : int
        Of both, in Hz: 8000 to 192000.
    channels : int
        1 to 8.
    packet_ms, lookahead
        Of what is concealed at once, as for :class:`~plc.Concealer`; waiting for the far side of a
        gap delays all by so many packets.
    delay_ms : float
        How long the first piece waits.
    max_delay_ms : float
        What waiting for late pieces may add to up: 0 fixes the delay, and late pieces are lost.
    most_ahead_s : float
        How far ahead of what is played pieces may come, up to 600.
    **settings
        As for :class:`~plc.Concealer`.

    Attributes
    ----------
    stats : PlayoutBufferStats
        Counters; those of ``concealer.stats`` are the concealer's.
    concealer : Concealer
        What makes up what is missing.

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
        **settings: Unpack[StreamSettings],
    ) -> None:
        given = {"delay_ms": delay_ms, "max_delay_ms": max_delay_ms, "most_ahead_s": most_ahead_s}
        for name, value in given.items():
            most = MOST_AHEAD_S if name == "most_ahead_s" else 1000.0 * MOST_AHEAD_S
            if not 0.0 <= value <= most:
                raise ConfigError(f"{name} is {value!r}; give 0 to {most:g}")
        self.concealer = Concealer(
            sample_rate, channels, OPEN, lookahead, packet_ms=packet_ms, **settings
        )
        self.stats = PlayoutBufferStats()
        config = self.concealer.config
        self._rate, self._block = config.sample_rate, config.packet_samples
        self._delay = self._samples(delay_ms / 1000.0)
        self._most_waited = self._samples(max(max_delay_ms - delay_ms, 0.0) / 1000.0)
        self._past = self._samples(_PAST_S)
        self._ahead = max(self._samples(most_ahead_s), self._delay + 2 * self._block)
        self._ring = np.zeros((self._past + self._ahead, config.channels), np.float32)
        self._state = np.zeros(len(self._ring), np.uint8)
        """Of each sample of the ring."""
        self._inbox = np.zeros((self._block, config.channels), np.float32)
        self._line = Line(config.channels, self._block)
        self._left = np.zeros((config.channels + 1, 0), np.float32)
        self._drift = DriftControl()
        self._due: int | None = None
        """Position of the next sample to play, from 0 on; None before there was any."""
        self._first = self._end = 0
        """The first that was due, and behind the newest sample."""
        self._shift = 0
        """Of the ring's positions against the sender's."""
        self._until_begin = self._delay
        self._waited = self._run = 0
        """Samples that the stream has waited and not left out again, and in this stall."""
        self._never = -self._samples(MOST_AHEAD_S)
        self._late = [self._never] * 2
        """By how much pieces came too late for a stream that never waits: lately, and before."""
        self._ahead_most = [self._never] * 2
        """How far ahead the earliest pieces came, likewise."""
        self._taken = 0

    def _samples(self, seconds: float) -> int:
        return round(seconds * self._rate)

    @property
    def buffered_ms(self) -> float:
        """Duration of the samples that wait to be played."""
        return 0.0 if self._due is None else 1000.0 * max(self._end - self._due, 0) / self._rate

    # ---- pieces in ------------------------------------------------------------------------------

    def put(
        self,
        samples: Packet | Samples | Bytes,
        at: int | None = None,
        *,
        at_s: float | None = None,
    ) -> int:
        """Take a piece in; return how many of its samples are new.

        Parameters
        ----------
        samples : float32 or int16, shape (n, channels), or (n,) for one channel; or bytes
            Bytes are int16 (little-endian), channels side by side; a ``memoryview`` of numbers is
            what its format says.
        at : int, optional
            Where its first sample stands in the sender's stream, in samples.
        at_s : float, optional
            The same in seconds. Without either it follows the piece before.

        Raises
        ------
        PacketError
            If it is of another shape or dtype, or ``at_s`` is no time; nothing is taken.
        """
        piece = self._as_piece(samples)
        if not piece.size:
            return 0
        if at_s is not None:
            if not math.isfinite(at_s):
                raise PacketError(f"at_s is {at_s!r}; give seconds")
            at = self._samples(at_s)
        place = self._place_of(at, len(piece))
        if self._due is None or (not self._taken and self._until_begin > 0):
            self._due = self._first = place if self._due is None else min(self._due, place)
        self._note_time(place, len(piece), at is not None)
        return self._keep(piece, place)

    def _as_piece(self, samples: Packet | Samples | Bytes) -> NDArray[np.float32]:
        """Return a piece as float32, shape (n, channels)."""
        channels = self._ring.shape[1]
        if isinstance(samples, Bytes):
            samples = of_bytes(samples, channels, "piece")
        empty = np.zeros((0, channels), np.float32)
        array = as_signal(samples, is_pushed=True) if np.size(samples) else empty
        if array.size != len(array) * channels:
            raise PacketError(f"piece has shape {array.shape}; give (n, {channels})")
        scale = INT16_SCALE if array.dtype == INT16 else 1.0
        return (array.reshape(-1, channels) / scale).astype(np.float32)

    def _place_of(self, at: int | None, samples: int) -> int:
        """Return a piece's place in the ring; one far from all others begins the stream anew."""
        follows = max(self._end, self._due or 0)
        if at is None:
            return follows
        if self._due is None:
            self._shift = -at
        place = at + self._shift
        if self._due is not None and not -self._past <= place - self._due <= self._ahead:
            self.stats.jumps += 1
            self._shift += follows - place
            place = follows
        return place

    def _note_time(self, place: int, samples: int, is_placed: bool) -> None:
        """Take note of when a piece came, and end a stall."""
        assert self._due is not None
        if self._run and place + samples > self._due:
            # Who goes on where the stream stands was late; who leaves room has sent nothing.
            hole = max(place - self._due, 0)
            if is_placed and 2 * hole < self._run:
                self.stats.late_samples += self._run
                self.stats.unsent_samples -= self._run
            self._run = 0
            skipped = min(hole, max(self._waited - max(*self._late, 0), 0))
            self._advance(skipped)
            self._waited -= skipped
            self._ahead_most = [self._never] * 2
        ahead = place - self._due + self._until_begin
        self._late[0] = max(self._late[0], self._waited - ahead)
        self._ahead_most[0] = max(self._ahead_most[0], ahead)

    def _keep(self, piece: NDArray[np.float32], place: int) -> int:
        """Write the new samples of a piece into the ring; return how many are in time."""
        assert self._due is not None
        stats, low = self.stats, max(self._due - self._past, self._first)
        overflow = max(place + len(piece) - max(self._due + self._ahead, place), 0)
        stats.overflow_samples += overflow
        piece = piece[: len(piece) - overflow]
        skip = min(max(low - place, 0), len(piece))
        where = np.arange(place + skip, place + len(piece))
        sound = (np.abs(piece[skip:]) <= LARGEST).all(axis=1)
        stats.refused_samples += int(np.count_nonzero(~sound))
        new = self._state[where % len(self._ring)] != _THERE
        stats.duplicate_samples += int(np.count_nonzero(~new))
        # What was due before it came is known from here on, so that a copy of it is a double.
        late = where < self._due
        counted = self._state[where[new & sound & late] % len(self._ring)]
        stats.late_samples += len(counted)
        stats.lost_samples -= int(np.count_nonzero(counted == _LOST))
        stats.unsent_samples -= int(np.count_nonzero(counted == _UNSENT))
        rows = where[new & sound]
        self._ring[rows % len(self._ring)] = piece[skip:][new & sound]
        self._state[rows % len(self._ring)] = _THERE
        if rows.size:
            self._end = max(self._end, int(rows[-1]) + 1)
        taken = int(np.count_nonzero(new & sound & ~late))
        stats.received_samples += taken
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
        if samples < 0:
            raise ConfigError(f"samples is {samples}; give 0 or more")
        blocks = [self._left]
        missing = samples - self._left.shape[1]
        while missing > 0:
            blocks.append(self._tick())
            missing -= blocks[-1].shape[1]
        joined = np.concatenate(blocks, axis=1)
        self._left = joined[:, samples:].copy()
        return np.ascontiguousarray(joined[:-1, :samples].T), joined[-1, :samples] > 0.5

    def _tick(self) -> NDArray[np.float32]:
        """Return a block to play; below the channels a row of marks."""
        if self._due is None or self._until_begin > 0:
            silent = self._block if self._due is None else min(self._block, self._until_begin)
            self._until_begin -= 0 if self._due is None else silent
            return np.zeros((len(self._left), silent), np.float32)
        step = 1.0 + self._drift.stretch
        while self._line.lacks(step):
            self._pull()
        return self._line.play(step).copy()

    def _pull(self) -> None:
        """Append the block that is due to the line."""
        assert self._due is not None
        where = np.arange(self._due, self._due + self._block) % len(self._ring)
        there, count = self._state[where] == _THERE, self._block
        least = max(self._samples(_LEAST_STALL_S) - self._run, 0) if self._run else 0
        if self._end - self._due < self._block + least and self._waited < self._most_waited:
            count = 0 if self._run else max(self._end - self._due, 0)
            there[count:] = False
            self._waited += self._block - count
            self._run += self._block - count
        known = min(max(self._end - self._due, 0), count)
        self.stats.lost_samples += int(np.count_nonzero(~there[:known]))
        self._state[where[:known][~there[:known]]] = _LOST
        self._state[where[known:count]] = _UNSENT
        self.stats.unsent_samples += self._block - known
        self._inbox[:] = self._ring[where]
        self._advance(count)
        missing = tuple(gaps_of(~there, 1))
        if missing == ((0, self._block),):
            self.concealer.push(None, self._inbox)
        else:
            self.concealer.push(self._inbox, self._inbox, missing)
        added = self._line.add(self._block)
        added[:-1] = self._inbox.T
        added[-1] = self.concealer.made_up
        self._pass_time()

    def _advance(self, samples: int) -> None:
        """Go on by some samples, and forget samples played long ago."""
        assert self._due is not None
        stale = np.arange(self._due - self._past, self._due - self._past + samples)
        self._state[stale % len(self._ring)] = 0
        self._due += samples

    def _pass_time(self) -> None:
        """Forget old lateness; follow the sender's clock by how far ahead the earliest come."""
        before_s, self._taken = self._taken / self._rate, self._taken + self._block
        now_s = self._taken / self._rate
        if before_s // _MEMORY_S < now_s // _MEMORY_S:
            self._late = [self._never, self._late[0]]
        if before_s // _FOLLOW_S == now_s // _FOLLOW_S or self._run:
            return
        ahead, most = max(self._ahead_most), self._delay + self._waited
        # Who sends far ahead, as fast as he can, has no clock to follow, nor who is silent.
        if 0 <= ahead < most + self._delay + self._most_waited:
            excess = min(ahead - self._delay, max(ahead - most, 0))
            self._drift.update(excess / self._rate, _DEAD_BAND_S, _FOLLOW_S)
        self._ahead_most = [self._never, self._ahead_most[0]]
