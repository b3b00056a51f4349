"""Streams that are copied and pickled, and what refuses to be."""

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer, ConcealerPool, SnapshotError
from plc.engine.stream.concealer import _step
from plc.engine.stream.config import StreamConfig
from plc.engine.stream.packet_dropouts import DropoutFinder
from plc.files.fill.signal_background import Background
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.libopus import LibopusDecoder
from tests.kernels.stream.test_networks import speech
from tests.plc.configs import playout_of

FORMAT: dict[str, Any] = {"sample_rate": 16_000, "packet_samples": 160, "budget_ms": float("inf")}
KEY = bytes(range(16))
COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda each: pickle.loads(pickle.dumps(each)),
    "snapshot": lambda each: Concealer.restore(each.snapshot(KEY), KEY),
}
SIGNAL = speech(16_000, 1)[: 200 * 160].reshape(-1, 160, 1)
ARRIVED = np.random.default_rng(7).random(len(SIGNAL)) > 0.25


def play(concealer: Concealer, first: int, stop: int) -> NDArray[np.float32]:
    out = [concealer.push(SIGNAL[k] if ARRIVED[k] else None) for k in range(first, stop)]
    return np.concatenate(out, dtype=np.float32)


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "server", "lookahead": 2},
        {"method": "ar", "detect_dropouts": True, "seed": 5},
        {"prepare": "always", "budget_ms": 1e6},
    ],
)
def test_a_copy_plays_what_the_stream_plays_and_neither_disturbs_the_other(
    how: str, settings: dict[str, Any]
) -> None:
    stream, alone = (Concealer(**(FORMAT | settings)) for _ in range(2))
    play(alone, 0, 100)
    play(stream, 0, 100)
    made = COPIES[how](stream)
    assert made.stats.as_dict() == stream.stats.as_dict()
    expected = play(alone, 100, 200)
    np.testing.assert_array_equal(play(stream, 100, 200), expected)
    np.testing.assert_array_equal(play(made, 100, 200), expected)
    assert made.stats.packets == stream.stats.packets == 200
    made.reset()
    assert stream.stats.packets == 200


def test_a_copy_in_the_midst_of_a_burst_and_of_integers_goes_on() -> None:
    stream = Concealer(**FORMAT, lookahead=1)
    stream.push(np.full((160, 1), 900, np.int16))
    stream.push(None)
    made = copy.copy(stream)
    for packet in (None, np.full((160, 1), 900, np.int16)):
        one, other = stream.push(packet), made.push(packet)
        assert one.dtype == other.dtype == np.int16
        np.testing.assert_array_equal(one, other)


def serve(stream: Concealer, connection: Connection) -> None:
    connection.send(play(stream, 100, 200))


@pytest.mark.parametrize("method", sorted({"spawn", *multiprocessing.get_all_start_methods()}))
def test_a_stream_goes_on_in_another_process(method: str) -> None:
    stream = Concealer(**FORMAT)
    play(stream, 0, 100)
    context: Any = multiprocessing.get_context(method)
    here, there = context.Pipe()
    worker = context.Process(target=serve, args=(stream, there), daemon=True)
    worker.start()
    assert here.poll(240.0)
    np.testing.assert_array_equal(here.recv(), play(stream, 100, 200))
    worker.join(60.0)
    assert worker.exitcode == 0


@pytest.mark.parametrize("packets", [1, 50])
def test_counters_that_are_copied_stand_still(packets: int) -> None:
    stream = Concealer(**FORMAT)
    play(stream, 0, packets)
    kept = [COPIES[how](stream.stats) for how in ("copy", "deepcopy", "pickle")]
    told = stream.stats.as_dict()
    play(stream, packets, 60)
    for each in kept:
        assert each.as_dict() == told != stream.stats.as_dict()


def test_a_kernels_direct_call_finds_its_code_again() -> None:
    Concealer(**FORMAT)
    for how in ("copy", "deepcopy", "pickle"):
        made = COPIES[how](_step)
        made.settle()
        assert made.run is not None


def test_a_stream_of_a_pool_is_none_of_a_concealer() -> None:
    pool = ConcealerPool()
    (snapshot,) = pool.snapshot(pool.open(1, sample_rate=16_000, packet_samples=160), KEY)
    with pytest.raises(SnapshotError, match="of a ConcealerPool, this is a Concealer"):
        Concealer.restore(snapshot, KEY)
    with pytest.raises(SnapshotError, match="of a Concealer, this is a ConcealerPool"):
        pool.restore([Concealer(**FORMAT).snapshot(KEY)], KEY)


REFUSING: dict[str, Callable[[], Any]] = {
    "pool": ConcealerPool,
    "pool with threads": lambda: ConcealerPool(threads=2),
    "playout": lambda: playout_of(L16(16_000, 1), 160, model="ar"),
    "memory": lambda: Concealer(**FORMAT, method="ar")._memory,
    "preparations": lambda: Concealer(**(FORMAT | {"budget_ms": 5.0}))._ahead,
    "format": lambda: _format(),
    "dropouts": lambda: DropoutFinder(StreamConfig()),
    "background": lambda: Background(1, 16_000, 0),
    "libopus": lambda: LibopusDecoder.open(1) or pytest.skip("there is no libopus"),
}


def _format() -> Any:
    pool = ConcealerPool()
    pool.open(1)
    return next(iter(pool._formats.values()))


@pytest.mark.parametrize("what", REFUSING)
@pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle"])
def test_what_cannot_be_copied_says_what_to_do(what: str, how: str) -> None:
    with pytest.raises(TypeError, match=r"cannot be pickled.*(make|hand|copy|open|connect)"):
        COPIES[how](REFUSING[what]())
