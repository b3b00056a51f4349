"""A stream talks to every filler in one way: by the hooks of the interface."""

import ast
import inspect

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer, conceal
from plc.engine import concealer as concealer_module
from plc.engine import methods
from plc.predict.filler import STEADY_MOMENT, Filler, Moment
from plc.predict.history import History
from plc_kernels.denormals import SUPPORTED
from tests.signals import tones

RATE = 16_000
PACKET = 160
LOST = (20, 21, 40)
SIGNAL = tones(3, RATE, RATE)


class Sample(Filler):
    """The last sample, held."""

    name = "sample"
    past_samples = 1

    def begin(self, history: History, moment: Moment = STEADY_MOMENT) -> None:
        self.last = history.ring[:, :1].copy()

    def extend(self, out: NDArray[np.float32]) -> None:
        out[:] = self.last


class Witness(Filler):
    """Writes down what it is asked."""

    name = "witness"
    bridges = True
    past_samples = 8

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.moments: list[Moment] = []

    def begin(self, history: History, moment: Moment = STEADY_MOMENT) -> None:
        self.asked.append("begin")
        self.moments.append(moment)

    def extend(self, out: NDArray[np.float32]) -> None:
        self.asked.append("extend")
        out.fill(0.0)

    def next_packet(self) -> None:
        self.asked.append("next packet")

    def bridge(
        self,
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        moment: Moment = STEADY_MOMENT,
    ) -> bool:
        self.asked.append("bridge")
        self.moments.append(moment)
        out.fill(0.0)
        return True

    def played(self, block: NDArray[np.float32], received: bool) -> None:
        self.asked.append("received" if received else "concealed")

    def took(self, late: bool) -> int:
        self.asked.append("took")
        return 3

    def pass_time(self, ms: float) -> int:
        return 1

    def reset(self) -> None:
        self.asked.append("reset")

    def close(self) -> None:
        self.asked.append("close")


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Witness:
    found = Witness()
    monkeypatch.setitem(methods.FILLERS, "witness", lambda *_: found)
    return found


def _play(concealer: Concealer, lost: tuple[int, ...]) -> NDArray[np.float32]:
    packets = SIGNAL.reshape(-1, PACKET, 1)
    out = [concealer.push(None if k in lost else packet) for k, packet in enumerate(packets)]
    return np.concatenate(out).astype(np.float32)[:, 0]


@pytest.mark.parametrize("lookahead", [0, 2])
def test_a_filler_from_outside_conceals_a_stream(
    lookahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(methods.FILLERS, "sample", lambda *_: Sample())
    trace = np.isin(np.arange(100), LOST)
    heard = conceal(
        SIGNAL, trace, sample_rate=RATE, packet_samples=PACKET, lookahead=lookahead, method="sample"
    )
    for first, packets in ((20, 2), (40, 1)):
        begin, stop = first * PACKET, (first + packets) * PACKET
        np.testing.assert_allclose(heard[begin:stop], SIGNAL[begin - 1], atol=0.02)
    described = Concealer(RATE, 1, PACKET, method="sample").describe()
    assert (described["method"], described["networks"], described["ladders"]) == ("sample", {}, {})


def test_each_hook_is_asked_in_its_turn(witness: Witness) -> None:
    concealer = Concealer(RATE, 1, PACKET, method="witness")
    _play(concealer, (20, 21))
    first = ["begin", "extend", "concealed", "took"]
    second = ["next packet", "extend", "concealed", "took"]
    recovery = ["extend", "received"]
    assert witness.asked == [*["received"] * 20, *first, *second, *recovery, *["received"] * 77]
    assert concealer.stats.rung_changes == 2 * 3 + 100
    assert concealer.stats.rung_samples == {"witness": 2 * PACKET, "noise": 0}
    concealer.reset()
    concealer.close()
    assert witness.asked[-2:] == ["reset", "close"]


def test_a_bridge_knows_the_gap_and_a_share_of_the_time(witness: Witness) -> None:
    concealer = Concealer(RATE, 1, PACKET, lookahead=2, method="witness", budget_ms=3.0)
    _play(concealer, (20, 21))
    assert [moment.gap_samples for moment in witness.moments] == [2 * PACKET, 2 * PACKET]
    assert not any(moment.fading for moment in witness.moments)
    witness.moments.clear()
    packet = SIGNAL[:PACKET, None]
    concealer.push(packet, missing=((10, 20), (50, 60), (90, 120)))
    for _ in range(2):
        concealer.push(packet)
    assert [moment.gap_samples for moment in witness.moments] == [10, 10, 10, 10, 30, 30]
    assert {moment.limit_ms for moment in witness.moments} == {1.0}
    witness.moments.clear()
    concealer.hurry(0.25)
    _play(concealer, (20,))
    assert {moment.limit_ms for moment in witness.moments} == {0.25}


def test_the_stream_asks_only_what_every_filler_has() -> None:
    tree = ast.parse(inspect.getsource(concealer_module))
    asked = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in ("filler", "method", "self._filler", "self._method")
    }
    assert asked
    # That is the step's own, and goes into a stream's snapshot.
    assert {name for name in asked if not hasattr(Filler, name)} == {"pace"}


def test_the_stream_knows_no_kind_of_filler() -> None:
    tree = ast.parse(inspect.getsource(concealer_module))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom | ast.Import)
        for alias in node.names
    }
    assert {name for name in imported if name.endswith("Filler")} == {"Filler"}
    checks = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "type")
    ]
    assert [check for check in checks if "filler" in check.lower()] == []


class Decaying(Filler):
    """Computes with denormal numbers in each of its hooks."""

    name = "decaying"
    past_samples = 8

    def __init__(self) -> None:
        self.made: list[float] = []

    def _decay(self) -> None:
        self.made.append(float((np.full(8, 1e-38, np.float32) * np.float32(1e-3)).sum()))

    def begin(self, history: History, moment: Moment = STEADY_MOMENT) -> None:
        self._decay()

    def extend(self, out: NDArray[np.float32]) -> None:
        self._decay()
        out.fill(0.0)

    def played(self, block: NDArray[np.float32], received: bool) -> None:
        self._decay()


@pytest.mark.skipif(not SUPPORTED, reason="this processor keeps denormals")
def test_every_hook_runs_without_denormals(monkeypatch: pytest.MonkeyPatch) -> None:
    filler = Decaying()
    filler._decay()
    assert filler.made.pop() > 0.0
    monkeypatch.setitem(methods.FILLERS, "decaying", lambda *_: filler)
    _play(Concealer(RATE, 1, PACKET, method="decaying"), (20, 21))
    assert len(filler.made) > 100
    assert set(filler.made) == {0.0}
    filler._decay()
    assert filler.made.pop() > 0.0
