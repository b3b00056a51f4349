"""Several threads at one stream: the second is told, and the first goes on as if alone."""

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer, ConcealerPool, ConcurrentPushError, PlcError
from plc.engine.stream.dependencies import Dependencies
from plc.engine.stream.samples import Packet
from plc_kernels.stream.step import step_many
from tests.signals import tones

RATE = 16_000
PACKET = 160
PACKETS = tones(1, RATE, 100 * PACKET).reshape(-1, PACKET, 1)
PATIENCE_S = 30.0

CALLS: dict[str, Callable[[Concealer], object]] = {
    "push": lambda concealer: concealer.push(PACKETS[0]),
    "lost": lambda concealer: concealer.push(None),
    "flush": lambda concealer: concealer.flush(),
    "reset": lambda concealer: concealer.reset(),
    "close": lambda concealer: concealer.close(),
}


class Gate:
    """A clock that stops whoever reads it, once it is shut, until it is opened."""

    def __init__(self) -> None:
        self.shut = False
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> float:
        if self.shut:
            self.reached.set()
            assert self.opened.wait(PATIENCE_S)
        return 0.0


@contextlib.contextmanager
def somebody_inside(concealer: Concealer, gate: Gate) -> Iterator[list[Packet]]:
    """Keep a thread in the middle of a concealment; yield where its packet comes to lie."""
    made: list[Packet] = []
    gate.shut = True
    thread = threading.Thread(target=lambda: made.append(concealer.push(None)))
    thread.start()
    assert gate.reached.wait(PATIENCE_S)
    gate.shut = False
    try:
        yield made
    finally:
        gate.opened.set()
        thread.join(PATIENCE_S)


def played(disturb: Callable[[Concealer], object] | None) -> Packet:
    """Return a stream in the middle of whose concealment somebody else calls."""
    gate = Gate()
    concealer = Concealer(
        RATE, 1, PACKET, model="ar", lookahead=1, cpu_clock=gate, budget_ms=float("inf")
    )
    out = [concealer.push(packet) for packet in PACKETS[:50]]
    concealer.push(None)
    with somebody_inside(concealer, gate) as made:
        if disturb is not None:
            with pytest.raises(ConcurrentPushError, match="one thread at a time"):
                disturb(concealer)
    out += made
    out += [concealer.push(packet) for packet in PACKETS[52:]]
    assert concealer.stats.packets == len(PACKETS)
    return np.concatenate([*out, concealer.flush()])


@pytest.mark.parametrize("call", CALLS)
def test_a_call_from_another_thread_is_refused_and_changes_nothing(call: str) -> None:
    np.testing.assert_array_equal(played(CALLS[call]), played(None))


def test_a_packet_that_is_refused_leaves_the_stream_open() -> None:
    concealer = Concealer(RATE, 1, PACKET, model="ar")
    for _ in range(3):
        with pytest.raises(PlcError, match="shape"):
            concealer.push(np.zeros((1, 1), np.float32))
    assert concealer.push(PACKETS[0]).shape == (PACKET, 1)


def test_many_threads_that_push_as_they_like_get_sound_or_an_error() -> None:
    concealer = Concealer(RATE, 1, PACKET, model="ar", budget_ms=float("inf"))
    done = [0] * 4
    faults: list[str] = []

    def hammer(number: int) -> None:
        for k in range(400):
            try:
                out = concealer.push(None if k % 3 == number % 3 else PACKETS[k % 100])
            except ConcurrentPushError:
                continue
            except Exception as error:
                faults.append(repr(error))
                return
            done[number] += 1
            if not np.isfinite(out).all() or np.abs(out).max() > 10.0:
                faults.append("not finite, or far too loud")

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=hammer, args=(k,)) for k in range(len(done))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    finally:
        sys.setswitchinterval(interval_s)
    assert not faults
    assert concealer.stats.packets == sum(done) > 0
    assert concealer.stats.total_samples_received == sum(done) * PACKET
    assert np.isfinite(concealer.push(None)).all()


Call = Callable[[ConcealerPool, NDArray[np.int64]], object]
POOL_CALLS: dict[str, Call] = {
    "push": lambda pool, ids: pool.push(ids, np.stack([PACKETS[0]] * 3), np.ones(3, bool)),
    "push of one": lambda pool, ids: pool.push(ids[1:2], PACKETS[0][None], np.ones(1, bool)),
    "open": lambda pool, ids: pool.open(1, sample_rate=RATE, packet_samples=PACKET),
    "prepare": lambda pool, ids: pool.prepare(1.0),
    "reset": lambda pool, ids: pool.reset(ids[1:2]),
    "reset all": lambda pool, ids: pool.reset(),
    "close one": lambda pool, ids: pool.close(ids[1:2]),
    "close": lambda pool, ids: pool.close(),
}


def played_by_many(monkeypatch: pytest.MonkeyPatch, threads: int, disturb: Call | None) -> Packet:
    """Return many streams during one of whose calls somebody else calls."""
    gate = Gate()

    def slow(*arguments: Any) -> object:
        gate()
        return step_many(*arguments)

    monkeypatch.setattr(ConcealerPool, "dependencies", Dependencies(step=slow))
    group = ConcealerPool(threads)
    ids = group.open(3, sample_rate=RATE, packet_samples=PACKET)
    out: list[Packet] = []
    for tick in range(60):
        packets, arrived = np.stack([PACKETS[tick + k] for k in range(3)]), np.ones(3, bool)
        arrived[tick % 3] = tick % 4 != 3
        if tick != 31:
            out.append(group.push(ids, packets, arrived))
            continue
        gate.shut = True
        push = functools.partial(group.push, ids, packets, arrived)
        thread = threading.Thread(target=lambda push=push: out.append(push()))
        thread.start()
        assert gate.reached.wait(PATIENCE_S)
        if disturb is not None:
            with pytest.raises(ConcurrentPushError, match="this ConcealerPool, which serves one"):
                disturb(group, ids)
        gate.shut = False
        gate.opened.set()
        thread.join(PATIENCE_S)
    assert [stats.packets for stats in group.stats(ids)] == [60] * 3
    group.close()
    played: NDArray[np.float32] = np.concatenate(out, dtype=np.float32)
    return played


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", POOL_CALLS)
def test_a_second_call_for_many_streams_is_refused_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, call: str, threads: int
) -> None:
    disturbed = played_by_many(monkeypatch, threads, POOL_CALLS[call])
    np.testing.assert_array_equal(disturbed, played_by_many(monkeypatch, threads, None))
