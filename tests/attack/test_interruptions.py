"""Exceptions that come at any moment of a call, as those of signal handlers do."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest

from plc import Concealer, ConcealerPool, ConcurrentPushError
from plc.engine.many.pool_format import Costs
from plc.engine.stream.dependencies import Dependencies
from plc.engine.stream.samples import Packet
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.delay import DelayConfig, DelayMode
from tests.examples import is_deep
from tests.plc.configs import playout_of
from tests.processes import environment
from tests.signals import tones

# A file that is being read at such a moment is closed only when it is collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RATE, PACKET = 16_000, 160
PACKETS = tones(1, RATE, 100 * PACKET).reshape(-1, PACKET, 1)
FORMAT: dict[str, Any] = {"sample_rate": RATE, "packet_samples": PACKET}
KEY = bytes(range(16))
# Of the moments of a call so many are tried; all of them where that is few, or by --deep.
MOMENTS = 150
DENORMAL = np.float32(1e-42)


class Stop(BaseException):
    """What a signal handler raises."""


def stopped_at(call: Callable[[], object], moment: int) -> bool:
    """Make a call that is ended at its n-th bytecode instruction; return whether it was."""
    left = moment

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if left < 0:
            sys.settrace(None)
            raise Stop
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Stop:
        return True
    finally:
        sys.settrace(before)
    return False


def moments_of(call: Callable[[], object]) -> Iterator[int]:
    """Yield moments of a call, in turn: those near its begin and end, and some between, or all."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    ends = {*range(min(count, 40)), *range(max(count - 40, 0), count)}
    between = np.random.default_rng(count).permutation(count)[: max(MOMENTS - len(ends), 0)]
    yield from range(count) if is_deep() else sorted(ends | set(between.tolist()))


STREAM_CALLS: dict[str, Callable[[Concealer], object]] = {
    "push": lambda concealer: concealer.push(PACKETS[0]),
    "lost": lambda concealer: concealer.push(None),
    "part": lambda concealer: concealer.push(PACKETS[1], missing=[(3, 50)]),
    "flush": lambda concealer: concealer.flush(),
    "reset": lambda concealer: concealer.reset(),
    "close": lambda concealer: concealer.close(),
    "snapshot": lambda concealer: concealer.snapshot(KEY),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "auto": {},
    "prepared": {"prepare": "always"},
    "ar, lookahead": {"method": "ar", "lookahead": 1},
    "detecting": {"method": "burg", "detect_dropouts": True},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("call", STREAM_CALLS)
def test_a_stream_serves_the_next_call(settings: str, call: str) -> None:
    concealer = Concealer(**FORMAT, **SETTINGS[settings])
    for packet in PACKETS[:20]:
        concealer.push(packet)

    def act() -> None:
        with contextlib.suppress(TypeError):  # of snapshots that there are none of
            STREAM_CALLS[call](concealer)

    for moment in moments_of(act):
        stopped_at(act, moment)
        for packet in (PACKETS[2], None, None, PACKETS[3], PACKETS[4]):
            out = concealer.push(packet)
            assert np.abs(out).max() < 2.0
        assert DENORMAL * np.float32(1.0) > 0.0, "this thread's arithmetic is as it was"
        if not concealer.delay:
            np.testing.assert_array_equal(concealer.push(PACKETS[5]), PACKETS[5])


class Crowd:
    """A pool whose first shelf is nearly full, and some of its streams."""

    def __init__(self, threads: int) -> None:
        self.pool = ConcealerPool(threads)
        self.ids = self.pool.open(63, **FORMAT, model="ar", detect_dropouts=True)
        self.some = self.ids[:3]
        self.told = self.pool.snapshot(self.some, KEY)
        self.packets = np.stack([PACKETS[0]] * 3)
        self.given = set(self.ids.tolist())

    def push(self, **settings: Any) -> Packet:
        there = np.array([True, False, True])
        return self.pool.push(self.some, self.packets, there, **settings)

    def join(self) -> None:
        self.pool.open(2, **FORMAT, model="ar", detect_dropouts=True)

    def come_and_go(self) -> None:
        self.pool.close(self.pool.open(2, **FORMAT, model="ar", lookahead=1))

    def restore(self) -> None:
        self.pool.restore(self.told[:2], KEY)

    def check(self) -> None:
        """Check that all is whole, and let those leave that joined."""
        pool, before = self.pool, len(self.pool)
        standing = pool._shelves.at.ids[pool._shelves.at.ids >= 0].tolist()
        assert len(standing) == before
        assert set(self.ids.tolist()) <= set(standing)
        more = sorted(set(standing) - set(self.ids.tolist()))
        assert len(more) in (0, 2), "all of a call join, or none"
        repr(pool)
        for missing in ({}, {0: [(3, 50)]}):
            out = self.push(missing=missing, budget_ms=1.0)
            assert np.abs(out).max() < 2.0
        pool.prepare(0.1)
        if more:
            pool.close(np.array(more))
        new = pool.open(2, **FORMAT, model="ar", detect_dropouts=True)
        assert not self.given & set(new.tolist()), "ids are never given again"
        self.given |= set(new.tolist()) | set(more)
        pool.close(new)
        assert len(pool) == len(self.ids)
        assert sum(shelf is not None for shelf in pool._shelves.by_number) == 1


POOL_CALLS: dict[str, Callable[[Crowd], object]] = {
    "push": lambda crowd: crowd.push(),
    "push in time": lambda crowd: crowd.push(missing={0: [(3, 50)]}, budget_ms=1.0),
    "open": Crowd.join,
    "open others, and close": Crowd.come_and_go,
    "restore": Crowd.restore,
    "snapshot": lambda crowd: crowd.pool.snapshot(crowd.some, KEY),
    "prepare": lambda crowd: crowd.pool.prepare(5.0),
    "reset": lambda crowd: crowd.pool.reset(crowd.some),
    "capacity": lambda crowd: crowd.pool.capacity(**FORMAT),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", POOL_CALLS)
def test_a_pool_is_whole(monkeypatch: pytest.MonkeyPatch, call: str, threads: int) -> None:
    depends = Dependencies(costs=lambda _: Costs(0.01, 0.1, 0.1))
    monkeypatch.setattr(ConcealerPool, "dependencies", depends)
    crowd = Crowd(threads)
    act = POOL_CALLS[call]
    for moment in moments_of(lambda: act(crowd)):
        crowd.check()
        stopped_at(lambda: act(crowd), moment)
    crowd.check()


def test_a_playout_plays_on() -> None:
    delay = DelayConfig(mode=DelayMode.FIXED, delay_ms=60)
    playout = playout_of(L16(RATE, 1), PACKET, delay, model="ar")
    now_s = 0.0

    def tick() -> None:
        nonlocal now_s
        now_s += PACKET / RATE
        assert np.isfinite(playout.tick(now_s)).all()

    for moment in moments_of(tick):
        stopped_at(tick, moment)
        tick()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timer")
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_signals_that_come_all_the_time_shut_nothing(threads: int) -> None:
    """By the system's timer, whose handler raises and also calls the stream itself."""
    concealer = Concealer(**FORMAT, model="ar")
    pool = ConcealerPool(max(threads, 1))
    ids = pool.open(3, **FORMAT, model="ar")
    raised = refused = 0
    is_awaited = False

    def push(k: int) -> None:
        if threads:
            pool.push(ids, np.stack([PACKETS[k % 100]] * 3), np.arange(3) != k % 4)
        else:
            concealer.push(None if k % 3 else PACKETS[k % 100])

    def handle(*_: object) -> None:
        nonlocal raised, refused, is_awaited
        try:
            push(0)
        except ConcurrentPushError:
            refused += 1
        raised += 1
        is_awaited = False  # NumPy drops an exception that it meets in a look-up
        raise Stop

    before = signal.signal(signal.SIGALRM, handle)
    try:
        for k in range(400):
            with contextlib.suppress(Stop):
                is_awaited = True
                signal.setitimer(signal.ITIMER_REAL, 1e-5 * (1 + k % 40))
                while is_awaited:
                    push(k)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert raised == 400
    assert refused > 0, "some came in the midst of a call"
    push(0)


def test_another_thread_goes_on_behind_an_interrupted_one() -> None:
    concealer = Concealer(**FORMAT, model="ar")
    for moment in range(60):
        stopped_at(lambda: concealer.push(PACKETS[0]), moment)
        other = threading.Thread(target=lambda: concealer.push(PACKETS[1]))
        before = concealer.stats.packets
        other.start()
        other.join()
        assert concealer.stats.packets == before + 1


def test_a_process_ends_whose_first_push_was_interrupted() -> None:
    program = f"""
import sys
sys.path[:] = {sys.path!r}
import numpy as np
from plc import ConcealerPool
from tests.attack.test_interruptions import FORMAT, PACKETS, stopped_at
for moment in range(0, 900, 60):
    pool = ConcealerPool(threads=2)
    ids = pool.open(2, **FORMAT, model="ar")
    stopped_at(lambda: pool.push(ids, PACKETS[:2], np.ones(2, bool)), moment)
    pool.push(ids, PACKETS[:2], np.ones(2, bool))
print("done")
"""
    found = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120.0,
        check=False,
    )
    assert (found.returncode, found.stdout) == (0, "done\n"), found.stderr
