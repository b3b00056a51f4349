import gc
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_bench.timing import measure
from plc_bench.timing.measure import cut, time_back_to_back, time_paced, watched

PACKETS = [np.full((3, 1), float(k), np.float32) for k in range(3)]
TRACE = np.array([False, False, True, False, False])
MS = 1_000_000


class Clock:
    """Nanoseconds that pass only when somebody sleeps or works, and 1 for each look."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(1e9 * seconds)


def test_every_packet_is_pushed_once_and_lost_ones_as_none() -> None:
    pushed: list[float] = []

    def push(packet: NDArray[np.float32] | None) -> None:
        assert not gc.isenabled()
        pushed.append(-1.0 if packet is None else float(packet[0, 0]))

    timed = time_back_to_back(push, PACKETS, TRACE)
    assert pushed == [0.0, 1.0, -1.0, 0.0, 1.0]
    assert gc.isenabled()
    assert set(timed.times_ms) == {"push", "null"}
    assert (timed.times_ms["push"] > 0.0).all()
    assert timed.times_ms["push"].sum() / 1000 <= timed.wall_s


@pytest.mark.realtime
def test_paced_calls_come_at_their_turns() -> None:
    clock = Clock()
    turns: list[int] = []

    def push(packet: NDArray[np.float32] | None) -> None:
        turns.append(clock.now_ns)
        clock.now_ns += 2 * MS

    timed = time_paced(push, PACKETS, TRACE, 10.0, clock=clock, sleep=clock.sleep)
    assert np.diff(turns) == pytest.approx(10 * MS, abs=10)
    assert timed.times_ms["push"] == pytest.approx(2.0, abs=1e-4)
    assert timed.times_ms["answer"] == pytest.approx(2.0, abs=1e-4)
    assert timed.times_ms["null_answer"] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.realtime
def test_a_call_that_a_slow_one_delays_answers_late_though_it_is_quick_itself() -> None:
    clock = Clock()
    durations_ms = iter([1, 25, 1, 1, 1])

    def push(packet: NDArray[np.float32] | None) -> None:
        clock.now_ns += next(durations_ms) * MS

    timed = time_paced(push, PACKETS, TRACE, 10.0, clock=clock, sleep=clock.sleep)
    assert timed.times_ms["push"] == pytest.approx([1, 25, 1, 1, 1], abs=1e-4)
    assert timed.times_ms["answer"] == pytest.approx([1, 25, 16, 7, 1], abs=1e-4)
    assert timed.times_ms["null_answer"] == pytest.approx([0, 0, 15, 6, 0], abs=1e-4)


def test_what_touching_memory_takes_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    done: list[str] = []

    def touching(mb: float) -> Callable[[], None]:
        assert mb == 8.0

        def touch() -> None:
            clock.now_ns += 3 * MS
            done.append("touch")

        return touch

    def push(packet: NDArray[np.float32] | None) -> None:
        clock.now_ns += MS
        done.append("push")

    def peer(turn: int, lost: bool) -> None:
        clock.now_ns += MS // 2
        done.append(f"{turn} {lost}")

    monkeypatch.setattr(measure, "_touching", touching)
    timed = time_paced(push, PACKETS, TRACE, 20.0, clock, clock.sleep, 8.0, peer)
    assert done[-5:] == ["touch", "touch", "4 False", "touch", "push"]
    assert done.count("2 True") == 1
    assert timed.times_ms["push"] == pytest.approx(1.0, abs=1e-4)
    assert timed.times_ms["answer"] == pytest.approx(1.0, abs=1e-4)
    assert timed.times_ms["peer"] == pytest.approx(0.5, abs=1e-4)
    assert timed.times_ms["null_answer"] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.realtime
def test_a_sleep_that_ends_early_is_slept_again() -> None:
    clock = Clock()
    timed = time_paced(
        lambda packet: None,
        PACKETS,
        TRACE,
        10.0,
        clock=clock,
        sleep=lambda seconds: clock.sleep(seconds / 2),
    )
    assert (timed.times_ms["null_answer"] >= 0.0).all()


def test_the_collector_does_not_run_by_itself_and_is_counted() -> None:
    for collections in (range(3), range(0)):
        with watched() as seen:
            assert not gc.isenabled()
            for generation in collections:
                gc.collect(generation)
        assert sum(seen.collections) == len(collections)
        assert (seen.longest_collection_ms > 0.0) == bool(collections)
    assert gc.isenabled()
    assert not any("note" in getattr(call, "__name__", "") for call in gc.callbacks)


def test_blocks_that_stay_are_counted_and_those_that_go_are_not() -> None:
    kept: list[object] = []
    with watched() as stays:
        kept += [bytes(40 + k) for k in range(1000)]
    with watched() as goes:
        for k in range(1000):
            bytes(40 + k)
    assert 1000 <= stays.new_blocks < 1200
    assert goes.new_blocks < 200
    assert sys.getrefcount(kept) > 0


def test_allocations_of_compiled_code_are_counted() -> None:
    from plc_kernels.signal.fade import crossfade

    make = pytest.importorskip("numba").njit(lambda size: np.zeros(size))
    x, y, z = np.zeros((3, 8), np.float32)
    crossfade(x, y, z)
    make(8)
    with watched() as quiet:
        for _ in range(100):
            crossfade(x, y, z)
    with watched() as seen:
        for _ in range(100):
            make(8)
    assert quiet.kernel_allocations == 0
    assert seen.kernel_allocations == 100


def test_a_signal_is_cut_into_whole_packets_of_their_own() -> None:
    signal = np.arange(10, dtype=np.float32)[:, None]
    packets = cut(signal, 3)
    assert [float(packet[0, 0]) for packet in packets] == [0.0, 3.0, 6.0]
    packets[0][:] = 9.0
    assert signal[0, 0] == 0.0
