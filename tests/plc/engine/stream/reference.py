"""A stream of linear prediction in plain Python, that the compiled step is compared with.

The two share the kernels of signals, which have tests of their own. What calls those, the queue,
the burst, the bound and the background, is written here a second time, for reading. There is no
time limit: each ladder stands at its first rung.
"""

import math
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.ladder import Ladders
from plc.engine.predict.linear import ArFiller
from plc.engine.predict.played_history import History
from plc.engine.stream.methods import rung_of
from plc_kernels.build.denormals import flush_denormals, restore_denormals
from plc_kernels.signal import content, edges, level, noise, noise_filling
from plc_kernels.signal.fade import burst_gain, crossfade, crossfade_ramp, fade_into
from plc_kernels.signal.packet import INT16_SCALE
from plc_kernels.signal.predict import LEAST_KNOWN
from plc_kernels.stream import background as hears
from plc_kernels.stream import bridge, layout
from plc_kernels.stream import fill_limit as bounds
from plc_kernels.stream.received import _APART
from tests.kernels.content_state import ContentState
from tests.kernels.memory import filling_memory, noise_state

Rows = NDArray[np.float32]
"""Shape (channels, n)."""
Missing = Sequence[tuple[int, int]]
Behind = Sequence[tuple[int, NDArray[Any]]]


class Part(NamedTuple):
    """A run of samples of a packet; ``rows`` is None where they are missing."""

    begin: int
    stop: int
    rows: Rows | None


@dataclass
class Burst:
    """A burst, in samples."""

    hold: int
    fade: int
    age: int = 0
    recovered: int = 0
    bridged: int = 0
    bridge: int = 0
    landed: bool = False
    filled: int = 0

    @property
    def faded(self) -> bool:
        return self.age >= self.hold + self.fade


def decide(burst: Burst | None, far_side_known: bool) -> str:
    """Return how a lost part is played."""
    if burst is None or burst.recovered:
        return "bridge" if far_side_known else "extend"
    if burst.bridge > burst.bridged:
        return "bridge"
    if burst.faded:
        return "noise"
    return "bridge" if far_side_known and burst.age < burst.hold else "extend"


def split(rows: Rows | None, missing: Missing, n: int) -> list[Part]:
    """Return the parts of a packet, arrived and missing in turn; None: all of it is missing."""
    if rows is None:
        return [Part(0, n, None)]
    parts = []
    at = 0
    for begin, stop in [*missing, (n, n)]:
        if begin > at:
            parts.append(Part(at, begin, np.ascontiguousarray(rows[:, at:begin])))
        if stop > begin:
            parts.append(Part(begin, stop, None))
        at = stop
    return parts


def gap_of(parts: Sequence[Part]) -> int:
    """Return the samples missing from the first part on; 0 if nothing after them arrived."""
    gap = 0
    for part in parts:
        if part.rows is not None:
            return gap
        gap += part.stop - part.begin
    return 0


def after_gap(parts: Sequence[Part], gap: int, most: int) -> Iterator[Rows]:
    """Yield what arrived right after a gap, as long as it fits."""
    at = 0
    for part in parts:
        at += part.stop - part.begin
        if at > gap:
            if part.rows is None or at - gap > most:
                return
            yield part.rows


class Limit:
    """How loud a concealment may be."""

    def __init__(self, channels: int, sample_rate: int, delay: int) -> None:
        def slots(seconds: float) -> int:
            return round(1000.0 * seconds / layout.SLOT_MS)

        self.hop = hop = max(1, round(sample_rate * layout.SLOT_MS / 1000.0))
        self.glide = max(1, round(sample_rate * layout.GLIDE_MS / 1000.0))
        self.smoothing = -math.expm1(-1.0 / hop)
        self.noise_smoothing = -math.expm1(-1000.0 / (sample_rate * layout.NOISE_MEAN_MS))
        self.share_rate = -1.0 / (sample_rate * layout.SHARE_S)
        self.ages = slots(level.HOLD_S), slots(level.FORGET_S), slots(level.LATELY_S)
        self.reach = round((layout.UNSTEADY_HOLD_MS + layout.FADE_MS) / layout.SLOT_MS)
        size = self.ages[2] + -(-delay // hop) + 2
        self.slots = np.full(size, -1, np.int64)
        self.counts = np.zeros(size, np.int64)
        self.peaks = np.zeros((channels, size), np.float32)
        self.energies = np.zeros((channels, size))
        self.states = np.zeros((channels, 3))
        self.recent = np.zeros((channels, hop))
        self.noise_power = np.zeros((channels, 1))
        self.received_share = 1.0
        self.newest = 0
        self.begin()

    def follow(self, part: Part, position: int) -> None:
        """Take in a part of the newest packet, which begins at ``position`` of the stream."""
        remembered = math.exp(self.share_rate * (part.stop - part.begin))
        if part.rows is None:
            self.received_share *= remembered
            return
        self.received_share = 1.0 - remembered * (1.0 - self.received_share)
        self.take_in(part, position)

    def take_in(self, part: Part, position: int) -> None:
        """Take in the levels of a received part."""
        assert part.rows is not None
        self.newest = max(self.newest, (position + part.stop - 1) // self.hop)
        state = (self.slots, self.counts, self.peaks, self.energies)
        n = part.rows.shape[1]
        level.follow_level(part.rows, 0, n, position + part.begin, self.hop, *state)

    def begin(self) -> None:
        """Note the begin of a burst."""
        self.begins = True
        self.states[:, 0] = 1.0
        self.noise_power[:] = 0.0

    def newest_at(self, position: int) -> int:
        return min(self.newest + self.reach, position // self.hop)

    def quieten(self, rows: Rows, position: int) -> None:
        """Hold comfort noise under the quietest recent level."""
        least = np.zeros(len(rows))
        state = (self.slots, self.counts, self.energies)
        level.quietest_power(self.newest_at(position), self.hop, self.ages[0], *state, least)
        for c, row in enumerate(rows):
            most = bounds._NOISE_RATIO * least[c]
            level.quieten(most, self.noise_smoothing, self.noise_power[c], row)

    def hold(self, rows: Rows, position: int) -> bool:
        """Hold a concealment within the bound; return whether it changed."""
        allowed = np.zeros((len(rows), 4))
        known = (self.slots, self.counts, self.peaks, self.energies)
        ages = (self.newest_at(position), self.hop, *self.ages)
        level.allowed_level(*ages, *known, allowed)
        by_age = self.received_share < bounds._MOSTLY_RECEIVED
        acted = False
        for c, row in enumerate(rows):
            aged = by_age or allowed[c, 0] <= bounds._SILENCE * allowed[c, 2]
            peak, power = allowed[c, :2] if aged else allowed[c, 2:]
            if self.begins:
                self.states[c, 1] = self.recent[c] = power
            energy = bounds.ENERGY_RATIO * power * self.hop
            most = bounds.PEAK_RATIO * peak, bounds.POWER_RATIO * power, energy
            state = self.states[c], self.recent[c]
            acted |= level.hold_level(*most, self.smoothing, self.glide, *state, row)
        self.begins = False
        return acted


class Background:
    """Comfort noise, and what the content is."""

    def __init__(self, channels: int, sample_rate: int, seed: int) -> None:
        self.sample_rate = sample_rate
        self.states = [noise_state(sample_rate, seed + c) for c in range(channels)]
        self.heard = ContentState.allocate()
        self.frame = np.zeros((channels, 0), np.float32)
        self.made = np.zeros((channels, 0), np.float32)
        self.noise_s = 0.0
        self.flux_db = hears._PRIOR_DB
        self.flux_frames = hears._PRIOR_FRAMES
        self.told = False

    @property
    def speech(self) -> bool:
        return self.told if self.knows else self.flux_db > hears._SPEECH_DB

    @property
    def knows(self) -> bool:
        """Whether enough was heard to tell speech from music."""
        return bool(self.heard.counts[content.LOUD] >= hears._LEAST_LOUD_FRAMES)

    def _tell(self) -> None:
        """Tell speech from music anew; what was speech is given up late."""
        least = hears._REMAINS_LOGIT if self.told else hears._SPEECH_LOGIT
        self.told = bool(self.heard.numbers[content.LOGIT] > least)

    @property
    def unsteady(self) -> bool:
        is_music = self.sample_rate >= layout.MUSIC_RATE and self.knows
        return self.speech or (self.flux_db > hears._UNSTEADY_DB and not is_music)

    def interrupt(self) -> None:
        """Drop a half-filled frame; measure no change across a loss."""
        self.frame = self.frame[:, :0]
        self.heard.counts[content.ROW] = 0

    def listen(self, rows: Rows) -> None:
        """Learn from received samples."""
        self.noise_s = 0.0
        self.frame = np.concatenate([self.frame, rows], 1)
        n = self.states[0].frame.size
        while self.frame.shape[1] >= n:
            self._analyse(self.frame[:, :n])
            self.frame = self.frame[:, n:]

    def _analyse(self, frame: Rows) -> None:
        for row, state in zip(frame, self.states, strict=True):
            state.frame[:] = row
            noise.track_noise(state)
        heard, bins = self.heard, self.states[0].spectrum.size
        powers = np.zeros(max(bins, content.BINS), np.float32)
        powers[:bins] = sum(state.levels[noise.POWERS] for state in self.states)
        follow = heard.numbers, heard.logs, heard.counts, heard.inputs, heard.units
        content.follow_content(powers, *follow)
        flux_db = max(float(state.flux[0]) for state in self.states)
        if flux_db >= 0.0:
            self.flux_frames = min(self.flux_frames + 1, hears._FLUX_FRAMES)
            self.flux_db += (flux_db - self.flux_db) / self.flux_frames
        if self.knows:
            self._tell()

    def make_noise(self, n: int, history: History) -> Rows:
        """Return comfort noise that continues the noise made before."""
        half = self.states[0].frame.size // 2
        while self.made.shape[1] < n:
            fall_db = hears._NOISE_FALL_DB_PER_S * max(0.0, self.noise_s - hears._NOISE_HOLD_S)
            gain = 10.0 ** (max(-fall_db, hears._NOISE_END_DB) / 20.0)
            self.noise_s += half / self.sample_rate
            more = np.zeros((len(self.states), half), np.float32)
            for c, row in enumerate(more):
                history.newest(c, row)
            for c in reversed(range(len(more))):
                sign = self._draw_as_its_copy(more, c)
                noise.comfort_noise(gain, self.states[c], more[c])
                more[c] *= np.float32(sign)
            self.made = np.concatenate([self.made, more], 1)
        made, self.made = self.made[:, :n].copy(), self.made[:, n:]
        return made

    def _draw_as_its_copy(self, newest: Rows, c: int) -> int:
        """Take over the random numbers of a channel that this one is a copy of; return its sign."""
        sign = 1
        for d in reversed(range(c)):
            own, other = newest[d].astype(np.float64), newest[c].astype(np.float64)
            both = float(own @ other)
            if both**2 > hears._COPY * float(own @ own) * float(other @ other):
                self.states[c].random[:] = self.states[d].random
                sign = -1 if both < 0.0 else 1
        return sign


@contextmanager
def flushed_denormals() -> Iterator[None]:
    before = flush_denormals()
    try:
        yield
    finally:
        restore_denormals(before)


class Reference:
    """A stream of packets in, the same stream without gaps out.

    Parameters
    ----------
    sample_rate, channels, packet_samples, lookahead, seed, method
        As for :class:`~plc.Concealer`; of the methods ``"ar"`` and those of one rung.

    Attributes
    ----------
    counts, rungs : Counter
        What :class:`plc.Stats` counts, but for time; concealed samples by rung.
    reached : set of str
        What has happened so far.
    """

    def __init__(
        self, *, seed: int = 0, method: str = "ar", lookahead: int = 0, **packets: int
    ) -> None:
        def samples(ms: float) -> int:
            return round(self._rate * ms / 1000.0)

        self._rate, self._channels = packets["sample_rate"], packets["channels"]
        self._n, self._lookahead, self._seed = packets["packet_samples"], lookahead, seed
        self._rung = None if method == "ar" else rung_of(method, self._rate)
        self._holds = samples(layout.STEADY_HOLD_MS), samples(layout.UNSTEADY_HOLD_MS)
        self._fade = samples(layout.FADE_MS)
        self._reach = max(self._holds[0], self._n)
        self._ahead = -(-(self._reach - self._n + samples(layout.KNOWN_MS)) // self._n)
        self._enough = samples(bridge._LEAST_MS)
        self._ramp = crossfade_ramp(max(1, samples(layout.RECOVERY_MS)))
        quick = crossfade_ramp(max(1, samples(layout.QUICK_RECOVERY_MS)))
        self._quick_ramp = np.append(quick, np.ones(self._ramp.size - quick.size, np.float32))
        self.reached: set[str] = set()
        self.reset()

    def reset(self) -> None:
        """Make the stream as new, and its counters 0."""
        self.counts: Counter[str] = Counter()
        self.rungs: Counter[str] = Counter()
        self._forget()

    def _forget(self) -> None:
        rate, channels, delay = self._rate, self._channels, self._lookahead * self._n
        ladders = Ladders(rate, channels, self._n, reach=self._reach)
        tops = (
            (self._rung,) * 2 if self._rung else (ladders.steady[0].rung, ladders.unsteady[0].rung)
        )
        self._fillers = [
            ArFiller(rate, channels, rung, self._reach, from_onsets=self._rung is None)
            for rung in tops
        ]
        self._filler = self._fillers[0]
        self.background = Background(channels, rate, self._seed)
        self._history = History(
            channels,
            max(
                self.background.states[0].frame.size // 2, *(f.past_samples for f in self._fillers)
            ),
        )
        self._fillings = [filling_memory(rate, self._seed) for _ in range(channels)]
        self.limit = Limit(channels, rate, delay + (self._ahead + 2) * self._n)
        self._known: dict[int, Rows] = {}
        self._waiting: deque[list[Part]] = deque()
        self._pushed = 0
        self._played = -delay
        self._burst: Burst | None = None
        self._bridge = np.zeros((channels, 0), np.float32)
        self._quick = [False] * channels
        self._integer = False

    def push(
        self, packet: NDArray[Any] | None, missing: Missing = (), behind: Behind = ()
    ) -> NDArray[Any]:
        """Take the next packet, and packets known behind it; return the packet to play."""
        self._known = {}
        for distance, known in behind:
            number = self._pushed + 1 + distance // self._n
            if number not in self._known and number <= self._pushed + self._ahead:
                rows = self._unpack(known, (), self._integer)
                assert rows is not None
                self._known[number] = rows
                self.limit.take_in(Part(0, self._n, rows), number * self._n)
        self.counts["packets"] += 1
        self.counts["lost_packets"] += packet is None
        self.counts["partial_packets"] += packet is not None and bool(missing)
        rows = None if packet is None else self._unpack(packet, missing)
        self.counts["invalid_packets"] += packet is not None and rows is None
        if packet is not None and rows is None:
            self.reached.add("unsound")
        with flushed_denormals():
            return self._pack(self._advance(split(rows, missing, self._n)))

    def flush(self) -> NDArray[Any]:
        """Return the packets still held, and end the stream."""
        self._known = {}
        with flushed_denormals():
            tail = [self._advance(split(None, (), self._n)) for _ in range(self._lookahead)]
        rows = np.concatenate([np.zeros((self._channels, 0), np.float32), *tail], 1)
        packed = self._pack(rows)
        self._forget()
        return packed

    def _unpack(
        self, packet: NDArray[Any], missing: Missing, integer: bool | None = None
    ) -> Rows | None:
        """Return a packet as rows, ``integer`` or not is what is played; None if it is unsound."""
        is_integer = packet.dtype == np.int16
        self._integer = is_integer if integer is None else integer
        scale = np.float32(1.0 / INT16_SCALE if is_integer else 1.0)
        rows = packet.reshape(self._n, -1).T.astype(np.float32) * scale
        for begin, stop in missing:
            rows[:, begin:stop] = 0.0
        return rows if (np.abs(rows) < 1e6).all() else None

    def _pack(self, rows: Rows) -> NDArray[Any]:
        if not self._integer:
            return rows.T
        full = np.rint(rows.T * np.float32(INT16_SCALE))
        packed: NDArray[Any] = np.clip(full, -32768, 32767).astype(np.int16)
        return packed

    def _advance(self, parts: list[Part]) -> Rows:
        """Take one packet in and play one."""
        for part in parts:
            self.limit.follow(part, self._pushed * self._n)
        self._pushed += 1
        self._waiting.append(parts)
        if self._pushed <= self._lookahead:
            self._played += self._n
            return np.zeros((self._channels, self._n), np.float32)
        block = np.concatenate([self._play(k) for k in range(len(self._waiting[0]))], 1)
        self._waiting.popleft()
        return block

    def _play(self, place: int) -> Rows:
        """Play a part of the packet whose turn it is."""
        later = chain.from_iterable(islice(self._waiting, 1, None))
        numbers = range(self._pushed, self._pushed + self._ahead)
        known = [Part(0, self._n, self._known.get(number)) for number in numbers]
        parts = [*self._waiting[0][place:], *later, *known]
        received = parts[0].rows
        trusted = True
        if received is None:
            self.background.interrupt()
            block, trusted = self._conceal(parts)
        else:
            block = received.copy()
            if self._burst:
                self._recover(block, self._burst)
            self.background.listen(received)
        self._history.append(block, trusted)
        if received is not None:
            self._mend()
        self._played += block.shape[1]
        self.counts["total_samples_received"] += block.shape[1]
        return block

    def _mend(self) -> None:
        """Predict what is damaged at the history's end from what stands before."""
        history = self._history
        looked, order = edges.edge_sizes(self._rate)
        n = min(looked, history.filled)
        if n < edges.LEAST_EDGE_SAMPLES:
            return
        space = edges.EdgeSpace.allocate(n, order)
        for c, ring in enumerate(history.ring):
            row = np.empty(n, np.float32)
            history.newest(c, row)
            count = edges.count_damaged(row, order, False, space)
            if count:
                edges.mend_end(row, count, order, space)
                ring[np.arange(history.position - count, history.position)] = row[n - count :]
                self.reached.add("mended")

    def _conceal(self, parts: Sequence[Part]) -> tuple[Rows, bool]:
        """Return the concealment of the first part, and whether to trust it."""
        counts = self.counts
        n = parts[0].stop - parts[0].begin
        gap = gap_of(parts)
        burst = self._burst
        play = decide(burst, 0 < gap <= self._reach and self._is_known(parts, gap))
        if burst is None or burst.recovered:
            burst = self._begin_burst(gap if play == "bridge" else 0)
        if play == "bridge":
            if burst.bridged == burst.bridge:
                self._build_bridge(burst, parts, gap)
            block = self._bridge[:, burst.bridged : burst.bridged + n].copy()
            burst.bridged += n
            burst.age += n
            counts["bridged_samples"] += n
            trusted = True
        else:
            block, trusted = self._continue_burst(n, burst)
        silent = play == "noise"
        self.reached.add(play)
        self.rungs["noise" if silent else self._filler.name] += n
        counts["silent_concealed_samples"] += n if silent else 0
        counts["concealed_samples"] += n
        counts["longest_burst_samples"] = max(counts["longest_burst_samples"], burst.age)
        limited = self.limit.hold(block, self._played)
        counts["fills_limited"] += limited
        if limited:
            aged = self.limit.received_share < bounds._MOSTLY_RECEIVED
            self.reached.add("limit by age" if aged else "limit")
        return block, trusted

    def _is_known(self, parts: Sequence[Part], gap: int) -> bool:
        """Return whether enough is known behind a gap."""
        least = min(gap, self._enough)
        if not self.background.speech:
            least = max(least, LEAST_KNOWN, gap // bridge._LEAST_SHARE)
        known = sum(int(rows.shape[1]) for rows in after_gap(parts, gap, self._reach))
        return known >= least

    def _begin_burst(self, gap: int) -> Burst:
        """Begin a burst; ``gap`` samples are bridged as a whole."""
        unsteady = self.background.unsteady
        if self._rung is None:
            self.reached.add("unsteady ladder" if unsteady else "steady ladder")
        if self._burst:
            self.reached.add("a loss while recovering")
        self._filler = self._fillers[unsteady]
        self._filler.begin(self._history, unsteady)
        self.limit.begin()
        for c, filling in enumerate(self._fillings):
            self._history.newest(c, filling.past)
        self.counts["concealment_events"] += 1
        self._burst = burst = Burst(self._holds[unsteady], self._fade)
        return burst

    def _continue_burst(self, n: int, burst: Burst) -> tuple[Rows, bool]:
        """Return the burst's next samples, and whether to trust them."""
        out = np.zeros((self._channels, n), np.float32)
        age, faded = burst.age, burst.faded
        burst.age += n
        if not faded:
            self._filler.extend(out)
            if self._rung is None and burst.hold == self._holds[0]:
                self._fill_noise(out, burst)
        if burst.age <= burst.hold:
            return out, True
        behind = self.background.make_noise(n, self._history)
        made = behind.copy()
        self.limit.quieten(behind, self._played)
        if not np.array_equal(made, behind):
            self.reached.add("quieter background")
        if faded:
            return behind, False
        self.reached.add("fade")
        gain = np.zeros(n, np.float32)
        burst_gain(age, burst.hold, burst.fade, gain)
        for c in range(self._channels):
            fade_into(behind[c], gain, out[c])
        return out, False

    def _fill_noise(self, out: Rows, burst: Burst) -> None:
        """Keep the level of the bands of a burst's next samples."""
        age = burst.filled
        burst.filled += out.shape[1]
        begin, full = (
            round(self._rate * ms / 1000.0)
            for ms in (noise_filling.BEGIN_MS, noise_filling.FULL_MS)
        )
        drawn = self._fillings[-1].random.copy()  # channels draw the same numbers
        for row, state, filling in zip(out, self.background.states, self._fillings, strict=True):
            filling.random[:] = drawn
            first = noise_filling.first_frame(begin, filling.past.size)
            if age <= first < burst.filled:
                recent = np.zeros(state.spectrum.size, np.float32)
                noise.recent_levels(state, recent)
                noise_filling.aim_at(self._rate, recent, filling)
                self.reached.add("noise filling")
            noise_filling.fill_noise(age, begin, full, filling, row)

    def _build_bridge(self, burst: Burst, parts: Sequence[Part], gap: int) -> None:
        """Fill the rest of the gap at once, from both sides."""
        assert not burst.bridge
        after = [np.zeros((self._channels, 0), np.float32), *after_gap(parts, gap, self._reach)]
        self._bridge = np.zeros((self._channels, gap), np.float32)
        burst.bridged, burst.bridge = 0, gap
        known = np.ascontiguousarray(np.concatenate(after, 1))
        burst.landed = self._filler.bridge(self._history, known, self._bridge)
        self.reached.add("a bridge")

    def _recover(self, block: Rows, burst: Burst) -> None:
        """Crossfade from the continued concealment to the first received samples."""
        if burst.landed and burst.bridged == burst.bridge:
            self._burst = None
            return
        at = burst.recovered
        n = min(self._ramp.size - at, block.shape[1])
        tail, _ = self._continue_burst(n, burst)
        if rest := min(burst.bridge - burst.bridged, n):
            self.reached.add("a bridge that a late packet cuts short")
            tail[:, :rest] = self._bridge[:, burst.bridged : burst.bridged + rest]
            burst.bridged += rest
        self.limit.hold(tail, self._played)
        if at == 0:
            steady = not self.background.unsteady
            self._quick = [
                steady and apart(made, row[:n]) for made, row in zip(tail, block, strict=True)
            ]
        for made, row, quick in zip(tail, block, self._quick, strict=True):
            ramp = self._quick_ramp if quick else self._ramp
            crossfade(row[:n], ramp[at : at + n], made)
            self.reached.add("quick recovery" if quick else "recovery")
        block[:, :n] = tail
        burst.recovered += n
        self.counts["crossfaded_samples"] += n
        if burst.recovered == self._ramp.size:
            self._burst = None


def apart(continued: Rows, received: Rows) -> bool:
    """Return whether a concealment differs much from received samples, shape (n,)."""
    error = np.sum(np.square(continued - received), dtype=np.float64)
    return bool(error > _APART * np.sum(np.square(received), dtype=np.float64))
