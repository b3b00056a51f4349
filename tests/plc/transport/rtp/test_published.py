"""Sequences that others test their receivers with, and the limits they publish.

Schedules and limits were read from:

* PJSIP (pjproject b6f66bc2): ``pjmedia/build/Jbtest.dat``
* Roc (roc-toolkit 03d29eb9): ``src/tests/roc_pipeline/test_receiver_source.cpp``
* GStreamer (05cffc19), good plugins: ``tests/check/elements/rtpjitterbuffer.c``
* WebRTC (bd151651): ``modules/audio_coding/neteq/neteq_unittest.cc``, and of its time
  ``test/neteq_decoding_test.cc``

Where a limit is of another convention, the test has this receiver's value and says why;
docs/benchmarks.md has the table.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from plc.transport.rtp.codecs import L16, Samples
from plc.transport.rtp.delay import DelayConfig
from plc.transport.rtp.packets import RtpPacket, build_rtp
from tests.plc.configs import playout_of
from tests.plc.transport import streams

PERIOD = 40
"""Of the tone that is sent, in samples."""
_TONE = (8000.0 * np.sin(2.0 * np.pi * np.arange(PERIOD) / PERIOD)).astype(">i2")


def packet(
    k: int,
    sequence: int | None = None,
    stamp: int | None = None,
    samples: int = 160,
    payload_type: int = 96,
) -> bytes:
    """Return the k-th packet; it begins with its number, whatever its header says."""
    sequence = k if sequence is None else sequence
    stamp = k * samples if stamp is None else stamp
    sound = np.tile(_TONE, samples // PERIOD + 2)[k * samples % PERIOD :][:samples].tobytes()
    numbers = sequence % 2**16, stamp % 2**32
    return build_rtp(RtpPacket(payload_type, *numbers, 1, k.to_bytes(4, "big") + sound[4:]))


class Noting(L16):
    """Notes which packets are decoded, which is when they are due."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate, 1)
        self.heard: list[int] = []

    def decode(self, payload: bytes) -> Samples | None:
        """Return the samples."""
        self.heard.append(int.from_bytes(payload[:4], "big"))
        return super().decode(payload)


class Run:
    """A playout whose ticks are one block apart."""

    def __init__(
        self, delay: DelayConfig | None = None, rate: int = 8000, block: int = 160
    ) -> None:
        self.codec = Noting(rate)
        self.playout = playout_of(self.codec, block, delay, model="ar")
        self.tick_s = block / rate
        self.ticks = 0
        self.waits: list[int] = []
        """Ticks from a packet's arrival to the end of the one in which it is decoded."""
        self.came: dict[int, int] = {}

    @property
    def heard(self) -> list[int]:
        return self.codec.heard

    @property
    def now_s(self) -> float:
        return self.ticks * self.tick_s

    @property
    def missing(self) -> list[int]:
        """Numbers between the first and the last that were heard, but not they."""
        return sorted({*range(self.heard[0], self.heard[-1])} - {*self.heard})

    @property
    def is_in_order(self) -> bool:
        """Whether each packet was decoded once, in order.

        What is behind a hole is decoded for it, before a packet that comes late into the hole.
        """
        order = sorted({*self.heard})
        moved = (abs(order.index(k) - at) for at, k in enumerate(self.heard))
        return len(order) == len(self.heard) and max(moved, default=0) <= 2

    @property
    def left_out(self) -> int:
        """Packets that came and were not heard, though one behind them was."""
        return sum(k <= self.heard[-1] for k in {*self.came} - {*self.heard})

    def put(self, *sent: bytes) -> None:
        for each in sent:
            self.came[int.from_bytes(each[12:16], "big")] = self.ticks
            self.playout.put(each, self.now_s)

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            before = len(self.heard)
            self.playout.tick(self.now_s)
            self.waits += [self.ticks - self.came[k] + 1 for k in self.heard[before:]]
            self.ticks += 1


def fixed(delay_ms: float) -> DelayConfig:
    return streams.fixed(delay_ms, max_delay_ms=max(delay_ms, 200.0))


# ---- PJSIP: frames of 20 ms by the GET before which they are PUT ---------------------------------

# Of ten GETs each; PUTs come up to three frames early, and three late.
A, B, C = (
    (1, 1, 2, 0, 4, 0, 1, 0, 0, 1),
    (1, 0, 0, 0, 3, 2, 3, 0, 1, 0),
    (1, 1, 2, 0, 2, 0, 3, 0, 0, 1),
)
RANDOM = A + B + A + B + C + B
IDEAL = (1,)
TENS = (10,) + 9 * (0,)
SPIKE = (50,) + 49 * (0,)

Slots = list[list[bytes]]


def slots(counts: Iterable[int], lost: Iterable[int] = (), begin: int = 0) -> Slots:
    """Return the packets that come before each tick, of those that are not lost."""
    numbers, gone = itertools.count(begin), set(lost)
    rows = ([next(numbers) for _ in range(count)] for count in counts)
    return [[packet(k) for k in row if k not in gone] for row in rows]


def drifting(lines: int, more: int) -> Slots:
    """Return random bursts with two PUTs more (1), or two GETs more (-1), in a line of thirty."""
    counts: list[int] = []
    for line in range(lines):
        first, second = (A, B) if line % 2 == 0 else (B, C)
        more_puts, more_gets = (first[0] + max(more, 0), *first[1:]), max(-more, 0) * (0,)
        counts += (*more_gets, *more_puts, *second, *more_gets, *more_puts)
    return slots(counts)


def paused(before: int, pause: int, after: int) -> Slots:
    """Return one packet a tick with a pause, which stamps count as RTP's do."""
    behind = [[packet(k, stamp=(k + pause) * 160)] for k in range(before, before + after)]
    return slots(before * IDEAL) + pause * [[]] + behind


def restarted() -> Slots:
    """Return numbers that begin anew behind 120 packets; the clock goes on."""
    return slots(120 * IDEAL) + [[packet(k, k - 119)] for k in range(120, 180)]


def doubled() -> Slots:
    return [2 * row for row in slots(40 * IDEAL)]


def late() -> Slots:
    """Return a stream with four packets lost, and four others, 10 to 49 behind, again."""
    rng = np.random.default_rng(1)
    rows = slots(126 * IDEAL, lost=(60, 61, 63, 64))
    rows[66] = [packet(56 - int(rng.integers(40))) for _ in range(4)] + rows[66]
    return rows


def lossy() -> Slots:
    bursts = (3, 0, 0, 3, 0, 0, 3, 0, 0, 1)
    counts = 50 * IDEAL + 2 * bursts + 20 * IDEAL
    return slots(counts, lost=(20, 23, 27, 51, 57, 61, 67))


def large() -> Slots:
    tens = [64, 32, 40, 16, 62, 126]
    counts = [count for many in tens for count in (*(many * TENS), *SPIKE)][: -len(SPIKE)]
    counts[0] += 200
    return slots(counts)


# Their buffer has 50 frames and, at "prefetch 0", begins without a delay: the shortest first guess
# here is 10 ms. Bursts from the first frame on are for the default, whose is 28.
QUICK, DEFAULT = (DelayConfig(safety=safety, max_delay_ms=1000.0) for safety in (0.0, 0.5))

# RFC 3550, appendix A.1, believes a source by its second packet: the first frame waits for it, and
# where numbers begin anew one frame lacks.
CONFIRMED = 1


@dataclass(frozen=True)
class Session:
    """A session and its limits, in frames."""

    name: str
    slots: Callable[[], Slots]
    discard: int
    lost: int
    empty: int
    wait: int
    """On average, its own frame included."""
    delay: DelayConfig = QUICK
    slower: int = 0
    """Frames by which this receiver misses the wait: the base of a slow sender lags behind."""


SESSIONS = [
    Session("ideal", lambda: slots(60 * IDEAL), 0, 0, 0, 1),
    Session("DTX", lambda: paused(30, 20, 30), 0, 0, 20, 1),
    Session("regular bursts", lambda: slots(24 * (3, 0, 0)), 0, 0, 0, 3, DEFAULT),
    Session("random bursts", lambda: slots(24 * RANDOM), 1, 0, 4, 4),
    Session("PUT > GET", lambda: drifting(34, 1), 68, 0, 4, 8),
    Session("PUT < GET", lambda: drifting(33, -1), 0, 0, 70, 4, slower=7),
    Session("lost", lossy, 0, 7, 3, 3),
    Session("restart", restarted, 0, CONFIRMED, 0, 1),
    Session("doubles", doubled, 40, 0, 0, 1),
    Session("late", late, 8, 4, 4, 4),
    Session("burst first", lambda: slots((51, *(374 * IDEAL))), 50, 0, 0, 25),
    Session("fixed 5, pause", lambda: [[], *paused(25, 5, 25)], 0, 0, 10, 5, fixed(80.0)),
    Session("fixed 5, bursts", lambda: slots(4 * RANDOM), 0, 0, 5, 5, fixed(80.0)),
    Session("fixed 10", lambda: slots((51, *(374 * IDEAL))), 50, 0, 0, 20, fixed(180.0)),
    Session("large", large, 300, 0, 60, 20),
]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
def test_a_session_of_pjsip_is_within_its_limits(session: Session) -> None:
    run, sent = Run(session.delay), 0
    for row in session.slots():
        run.put(*row)
        run.tick()
        sent += len(row)
    doubles = sent - len(run.came)
    lost = run.playout.received.lost_samples / 160
    assert run.is_in_order
    assert run.left_out + doubles <= session.discard
    assert lost <= session.lost
    assert run.ticks - len(run.heard) - lost <= session.empty + CONFIRMED
    assert int(np.mean(run.waits)) <= session.wait + CONFIRMED + session.slower


def test_a_slow_sender_of_bursts_is_followed_within_the_usual_delay() -> None:
    run = Run()
    for row in drifting(33, -1):
        run.put(*row)
        run.tick()
    assert run.is_in_order
    assert run.left_out <= 2  # 10 if the base is the least transit of 4 s
    assert run.playout.delay_s <= 0.22


# ---- Roc: packets of 100 samples, eight of them before the first frame is read ------------------


class RocRun(Run):
    """A run at Roc's pace, whose delay is that of eight packets less the one that is due."""

    def __init__(self, samples: int = 100) -> None:
        super().__init__(fixed((800 - samples) / 48.0), 48_000, 50)
        self.samples = samples
        self.k = self.later = self.off = 0
        """The next packet; what is added to its number and its stamp."""

    def write(self, count: int = 1) -> None:
        for _ in range(count):
            stamp = self.k * self.samples + self.off
            self.put(packet(self.k, self.k + self.later, stamp, self.samples))
            self.k += 1

    def skip(self, count: int) -> None:
        self.k += count

    def play(self, count: int, writes: int = 1) -> None:
        """Play the length of a packet of 100 samples, and write, so many times."""
        for _ in range(count):
            self.tick(2)
            self.write(writes)


def roc_late(run: RocRun) -> None:
    run.write(8)
    run.skip(5)
    run.play(8)
    run.tick(10)
    run.play(8)
    run.put(*(packet(k, samples=100) for k in range(8, 13)))
    run.tick(16)


def roc_reordered(run: RocRun) -> None:
    for first in range(0, 80, 8):
        run.put(*(packet(k, samples=100) for k in range(first + 7, first - 1, -1)))
        run.tick(16)


def roc_later_stamps(run: RocRun, samples: int) -> None:
    run.write(8)
    run.off = samples
    run.play(93)


def roc_reordered_stamps(run: RocRun) -> None:
    run.write(8)
    for place in range(15, 7, -1):
        run.off = 100 * (place - run.k)
        run.play(1)
    run.off = 0
    run.play(87)


def roc_late_stamps(run: RocRun) -> None:
    run.write(8)
    run.off = 500
    run.play(8)
    run.tick(10)
    run.play(8)
    run.off = 100 * (8 - run.k)
    run.write(5)
    run.tick(16)


def roc_jump(run: RocRun, count: int) -> None:
    run.write(8)
    run.play(80)
    run.later = count
    run.play(80)


def roc_variable(run: RocRun) -> None:
    stamp = waiting = 0
    while run.k < 320:
        for samples in (25, 100):
            run.put(packet(run.k, None, stamp, samples))
            run.k, stamp, waiting = run.k + 1, stamp + samples, waiting + samples
        while waiting >= 800:
            run.tick()
            waiting -= 50


def roc_corrupted(run: RocRun, first: int, count: int) -> None:
    run.write(first)
    for _ in range(count):
        run.tick(2)
        run.playout.put(b"\x00" + packet(run.k, samples=100)[1:], run.now_s)
        run.skip(1)
    if first:
        run.play(24)


@dataclass(frozen=True)
class RocCase:
    """What is written, and what is heard of it: all from ``first`` on but what is ``missing``."""

    name: str
    drive: Callable[[RocRun], None]
    first: int = 0
    missing: Sequence[int] = ()
    samples: int = 100
    silent: bool = False


def roc_steady(
    run: RocRun, count: int = 8, plays: int = 80, writes: int = 1, later: int = 0, off: int = 0
) -> None:
    run.later, run.off = later, off
    run.write(count)
    run.play(plays, writes)


def roc_one_by_one(run: RocRun) -> None:
    run.play(7)
    run.tick(2)
    run.play(80)


def roc_ends(run: RocRun, count: int) -> None:
    run.write(count)
    run.tick(256)


ROC = [
    RocCase("no session", lambda run: run.tick(160), silent=True),
    RocCase("one session", roc_steady),
    RocCase("long run", lambda run: roc_steady(run, plays=800)),
    RocCase("initial latency", roc_one_by_one),
    RocCase("one packet", lambda run: roc_ends(run, 1), silent=True),
    RocCase("timeout", lambda run: roc_ends(run, 8)),
    RocCase("initial trim", lambda run: roc_steady(run, 24), first=16),
    RocCase("numbers wrap", lambda run: roc_steady(run, later=65_495)),
    RocCase("numbers jump by 5", lambda run: roc_jump(run, 5)),
    RocCase("reordered", roc_reordered),
    RocCase("late", roc_late, missing=range(8, 13)),
    RocCase("stamps wrap", lambda run: roc_steady(run, off=2**32 - 4000)),
    RocCase("small packets", lambda run: roc_steady(run, 32, writes=4), samples=25),
    RocCase("packets of two frames", roc_steady),
    RocCase("small and large packets", roc_variable, first=1),
    RocCase("corrupted first", lambda run: roc_corrupted(run, 0, 80), silent=True),
    RocCase("corrupted", lambda run: roc_corrupted(run, 8, 8), missing=range(8, 16)),
    # Roc ends its session; RFC 3550, appendix A.1, goes on with the second packet.
    RocCase("numbers jump by 400", lambda run: roc_jump(run, 400)),
    # Roc places packets by stamps alone; here stamps count that the numbers and the pace bear out.
    RocCase("stamps 5 packets later", lambda run: roc_later_stamps(run, 500)),
    RocCase("stamps 560 packets later", lambda run: roc_later_stamps(run, 56_000)),
    RocCase("stamps half a packet back", lambda run: roc_later_stamps(run, -50)),
    RocCase("stamps reordered", roc_reordered_stamps),
    RocCase("stamps late", roc_late_stamps),
]


@pytest.mark.parametrize("case", ROC, ids=lambda case: case.name)
def test_a_receiver_of_roc_hears_the_same(case: RocCase) -> None:
    run = RocRun(case.samples)
    case.drive(run)
    received = run.playout.received
    if case.silent:
        assert not run.heard
        assert received.played_samples == run.playout.concealment.concealed_samples == 0
        return
    assert run.is_in_order
    assert run.heard[0] == case.first
    assert run.missing == list(case.missing)
    assert run.heard[-1] >= run.k - 8 * 100 // case.samples - 6
    # What was late when the first block was due is left out, and counted.
    assert received.skipped_samples <= 1600


# ---- GStreamer: packets of 20 ms, a fixed latency ------------------------------------------------


class GstRun(Run):
    """A run that begins with undisturbed packets for as long as the latency."""

    def __init__(self, latency_ms: int, first: int = 0, begins: bool = True) -> None:
        super().__init__(fixed(float(latency_ms)))
        self.first = first
        self.k = 0
        if begins:
            self.row(latency_ms // 20 + 1)

    def give(self, k: int, stamp: int | None = None) -> None:
        self.put(packet(k, self.first + k, stamp))
        self.k = max(self.k, k + 1)

    def row(self, count: int, ahead: int = 0) -> None:
        """Send packets with numbers and stamps that are so far ahead."""
        for k in range(self.k, self.k + count):
            self.put(packet(k, self.first + k + ahead, (k + ahead) * 160))
            self.tick()
            self.k += 1


def gst_at_once(*order: int) -> GstRun:
    run = GstRun(200, begins=False)
    for k in order:
        run.give(k)
    return run


def gst_gap(latency_ms: int, *then: tuple[int, int], first: int = 0) -> GstRun:
    """Return a run of packets after so many ticks each, counted from the first undisturbed ones."""
    run = GstRun(latency_ms, first)
    begin = run.k
    for ticks, k in then:
        run.tick(ticks)
        run.give(begin + k)
    return run


def gst_zero_stamps() -> GstRun:
    run = GstRun(100, begins=False)
    for k in range(60):
        if k not in (20, 21):
            run.give(k, 0)
        run.tick()
    return run


def gst_jump() -> GstRun:
    run = GstRun(100)
    run.row(5, ahead=20_000)
    return run


def gst_held() -> GstRun:
    run = GstRun(100)
    run.tick(20_000)
    run.row(5)
    return run


# Name, run, what is missing, packets that came too late. In a gap of three the first is late, as
# GStreamer's is; the second, late there, is heard: a fixed delay is one block longer here.
GSTREAMER: list[tuple[str, Callable[[], GstRun], Sequence[int], int]] = [
    ("in order", lambda: gst_at_once(0, 1, 2), (), 0),
    ("backward", lambda: gst_at_once(0, 3, 2, 1), (), 0),
    ("unordered", lambda: gst_at_once(0, 2, 1, 3), (), 0),
    ("backward from the first", lambda: gst_at_once(2, 1, 0), (), 0),
    ("one lost", lambda: gst_gap(100, (1, 1)), (6,), 0),
    ("a large gap", lambda: gst_gap(200, (489, 489)), range(11, 500), 0),
    ("of two lost one in time", lambda: gst_gap(100, (2, 2), (4, 1)), (6,), 0),
    ("out of order, none lost", lambda: gst_gap(100, (0, 0), (0, 2), (6, 1)), (), 0),
    ("late by 10 s", lambda: gst_gap(100, (494, 2)), (6, 7), 0),
    ("late by more than the latency", lambda: gst_gap(100, (1, 1), (7, 0)), (6,), 1),
    *(
        (f"late in a gap, {first}", lambda first=first: gst_gap(20, (3, 3), (0, 0), first=first),
         range(2, 5), 1)
        for first in (0, 65_533, 65_534)
    ),
    ("a jump of numbers", gst_jump, (), 0),
    ("400 s on the wire", gst_held, (), 0),
    ("50 ms of nothing", lambda: gst_gap(20, (2, 0), (1, 1)), (), 0),
    ("stamps of zero", gst_zero_stamps, (20, 21), 0),
]  # fmt: skip


@pytest.mark.parametrize("case", GSTREAMER, ids=lambda case: case[0])
def test_a_sequence_of_gstreamer(
    case: tuple[str, Callable[[], GstRun], Sequence[int], int],
) -> None:
    _, make, missing, came_late = case
    run = make()
    run.tick(14)
    assert run.is_in_order
    assert (min(run.heard), max(run.heard)) == (0, run.k - 1)
    assert run.missing == list(missing)
    assert run.playout.received.late_packets == came_late


# Steps of numbers and stamps, and seconds behind each.
STALLS: dict[str, list[tuple[int, int, float]]] = {
    "growing steps": [(step, 0, 0.0) for step in range(1, 11)],
    "unsteady": [(278, 21_920, 0.032), (37, 5920, 0.09), (173, 13_600, 0.108),
                 (30, 27_200, 0.191), (-20, 43_840, 0.151), (42, 4480, 0.131)],
    "ahead and back": [(39, 4960, 0.0), (-28, -5280, 0.001)],
    "2 s, ahead and back": [(1, 160, 2.0), (62, 9920, 0.0), (-13, -2080, 0.01)]
                           + 5 * [(1, 160, 0.0)],
    "far ahead, stamps back": [(201, -1440, 0.186), (265, 1, 0.0)],
}  # fmt: skip


@pytest.mark.parametrize("steps", STALLS.values(), ids=STALLS)
@pytest.mark.parametrize("latency_ms", [100, 200])
def test_no_steps_of_gstreamers_stall_the_stream(
    steps: list[tuple[int, int, float]], latency_ms: int
) -> None:
    run = GstRun(latency_ms)
    number, due_s = run.k - 1, run.now_s
    stamp, newest = number * 160, number
    for k, (step, stamps, pause_s) in enumerate(steps, start=1000):
        number, stamp = number + step, stamp + stamps
        run.put(packet(k, number, stamp))
        due_s, newest = due_s + pause_s, max(newest, number)
        run.tick(round((due_s - run.now_s) / run.tick_s))
    run.tick(50)
    for k in range(50):
        run.put(packet(2000 + k, newest + 1 + k, (newest + 1 + k) * 160))
        run.tick()
    run.tick(14)
    assert len({*run.heard} & {*range(2000, 2050)}) >= 48


# ---- NetEq: packets of 10 and 30 ms at 16 kHz, ticks of 10 ms ------------------------------------

SPARSE = DelayConfig(safety=0.0)


@pytest.mark.parametrize(
    ("number", "stamp", "lost"),
    [(65_525, 0, ()), (65_525, 0, (10, 11)), (0, -3001, ()), (65_525, -5001, ())],
)
def test_numbers_and_stamps_of_neteqs_wrap(number: int, stamp: int, lost: Sequence[int]) -> None:
    run = Run(SPARSE, 16_000, 160)
    delays_s = []
    for k in range(67):
        if k not in lost:
            run.put(packet(k, number + k, stamp + k * 480, 480))
        for _ in range(3):
            run.tick()
            delays_s.append(run.playout.delay_s)
    assert run.missing == list(lost)
    assert len(run.heard) >= 66 - len(lost)
    assert max(delays_s) <= 0.06  # two packets


class NoiseRun(Run):
    """5 s of speech and a minute of comfort noise of a sender of another pace, in ms."""

    def __init__(self, pace: float) -> None:
        super().__init__(SPARSE, 16_000, 160)
        self.pace = pace
        self.now_ms = self.next_ms = 0.0
        self.k = self.number = self.stamp = 0

    def run(self, until_ms: float, is_speech: bool) -> None:
        while self.now_ms < until_ms:
            self.send(is_speech)
            self.tick()
            self.now_ms += 10.0

    def send(self, is_speech: bool) -> None:
        while self.next_ms <= self.now_ms:
            if is_speech:
                self.put(packet(self.k, self.number, self.stamp, 480))
                self.k += 1
            else:
                noise = RtpPacket(13, self.number % 2**16, self.stamp % 2**32, 1, b"@")
                self.playout.put(build_rtp(noise), self.now_s)
            samples = 480 if is_speech else 1600
            self.number, self.stamp = self.number + 1, self.stamp + samples
            self.next_ms += samples / 16.0 * self.pace


# Pace, freeze, the time within which speech is back and by how much the delay may differ, in ms.
# NetEq has 100 for a slow sender that froze: here its base lags behind, and it takes 120.
NOISE = [
    (1000.0 / 1025.0, 0.0, 100.0, 20.0),
    (1000.0 / 975.0, 0.0, 100.0, 40.0),
    (1000.0 / 1025.0, 5000.0, 200.0, 60.0),
    (1000.0 / 975.0, 5000.0, 130.0, 40.0),
    (1.0, 0.0, 50.0, 10.0),
]


@pytest.mark.parametrize(("pace", "freeze_ms", "most_ms", "tolerance_ms"), NOISE)
def test_speech_is_back_behind_a_minute_of_noise_of_neteqs(
    pace: float, freeze_ms: float, most_ms: float, tolerance_ms: float
) -> None:
    run = NoiseRun(pace)
    run.run(5000.0, is_speech=True)
    before_s, heard = run.playout.delay_s, len(run.heard)
    run.run(65_000.0, is_speech=False)
    if freeze_ms:
        run.tick(round(freeze_ms / 10.0))
        run.now_ms += freeze_ms
        run.send(is_speech=False)
    begin_ms = run.now_ms
    while len(run.heard) == heard:
        run.run(run.now_ms + 10.0, is_speech=True)
    assert run.now_ms - begin_ms < most_ms
    assert run.missing == []
    assert abs(run.playout.delay_s - before_s) <= tolerance_ms / 1000.0


def test_bursts_of_1_to_19_lost_packets_are_as_many_events_of_neteqs() -> None:
    run = Run(fixed(20.0), 16_000, 160)
    lost, k = [], 0
    for burst in range(1, 20):
        for is_lost in 10 * (False,) + burst * (True,):
            if is_lost:
                lost.append(k)
            else:
                run.put(packet(k))
            run.tick()
            k += 1
    for after in range(k, k + 10):
        run.put(packet(after))
        run.tick()
    assert run.missing == lost
    assert run.playout.concealment.concealment_events == 19


def test_the_mean_delay_is_that_of_two_packets_and_one_as_in_neteq() -> None:
    run = Run(fixed(20.0), 16_000, 160)
    for k in range(10):
        run.put(packet(k))
        run.tick(int(k >= 2))
    run.tick(3)
    received = run.playout.received
    assert run.heard == list(range(10))
    assert received.waited_s / received.emitted_samples == pytest.approx(0.03)


@pytest.mark.parametrize("stamps", [700, 350, 1400, -1010], ids=["right", "half", "twice", "old"])
def test_a_stream_is_heard_again_behind_7_s_of_nothing_whatever_its_stamps(stamps: int) -> None:
    run = Run(None, 16_000, 160)
    for k in range(10):
        run.put(packet(k))
        run.tick()
    run.tick(700)
    for k in range(10, 30):
        run.put(packet(k, stamp=(stamps + k) * 160))
        run.tick()
    run.tick(10)
    assert run.heard == list(range(30))


def test_nothing_and_other_payload_types_are_silent_and_refused() -> None:
    run = Run(None, 16_000, 160)
    assert not run.playout.tick(0.0).any()
    for k in range(5):
        assert run.playout.put(packet(k, payload_type=1), 0.0) is None
        assert not run.playout.tick(0.01 * k).any()
    assert run.heard == []
