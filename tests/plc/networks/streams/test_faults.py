"""A network that sleeps, dies or lies behind a live stream: always audio, and no click."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")

from plc import Concealer
from plc.audio.loss import GilbertElliott
from plc.networks.streams import served
from plc.networks.streams.filler import NetworkFiller
from plc.runtime.worker import NetworkWorker
from tests.plc.tiny_models import write_model
from tests.signals import tones

Fault = Callable[[NDArray[np.float32]], bool]

RATE = 16_000
PACKET = 160
SIGNAL = tones(21, RATE, 2 * RATE)
TRACE = GilbertElliott(0.3, 4.0).trace(200, 5)


class _Network:
    """Does as ``fault`` says."""

    last_error = ""

    def __init__(self, fault: Fault, on_gpu: bool = False) -> None:
        self._fault = fault
        self.on_gpu = on_gpu

    def run(
        self, spectra: NDArray[np.float32], lost: NDArray[np.float32], out: NDArray[np.float32]
    ) -> bool:
        return self._fault(out)

    def keep_warm(self) -> None: ...

    def cancel(self) -> None: ...


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_model(tmp_path, "last", drafts=("ar",), top_hz=8000.0))


def _play(concealer: Concealer) -> NDArray[Any]:
    packets = SIGNAL.reshape(-1, PACKET, 1)
    out = [
        concealer.push(None if lost else packet)
        for lost, packet in zip(TRACE, packets, strict=True)
    ]
    return np.concatenate(out)[:, 0]


def _with(
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    fault: Fault,
    *,
    on_gpu: bool = False,
    clock: Callable[[], float] = lambda: 0.0,
) -> Concealer:
    """Return a stream whose networks fail."""
    monkeypatch.setattr(served, "open_network", lambda *_, **__: _Network(fault, on_gpu))
    # A clock that stands still: rungs do not depend on the machine, and what is not there at
    # once is late when the wait of the budget ends.
    return Concealer(RATE, 1, PACKET, model=model, budget_ms=5.0, clock=clock, prepare="never")


@pytest.fixture
def ladder() -> NDArray[Any]:
    return _play(Concealer(RATE, 1, PACKET, model="ar", budget_ms=float("inf")))


@pytest.fixture
def sleep() -> Iterator[Fault]:
    """Sleep until the test ends."""
    event = threading.Event()

    def wait(out: NDArray[np.float32]) -> bool:
        event.wait(60.0)
        return True

    yield wait
    event.set()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the audio's thread wait for answers as long as they take, on a busy machine, too."""
    next_result = NetworkWorker._next_result

    def wait(self: NetworkWorker, wait_s: float) -> int | None:
        return next_result(self, 60.0 if wait_s > 0.0 else wait_s)

    monkeypatch.setattr(NetworkWorker, "_next_result", wait)


def _throw(out: NDArray[np.float32]) -> bool:
    raise RuntimeError("out of memory")


def _silence(out: NDArray[np.float32]) -> bool:
    out[:] = 0.0
    return True


def _wait_for_answers(concealer: Concealer) -> None:
    """Wait until the networks' threads have given back what they were asked last."""
    assert isinstance(concealer._method.filler, NetworkFiller)
    pause = threading.Event()
    for served_ in concealer._method.filler.networks:
        runner = served_.runner
        assert isinstance(runner, NetworkWorker)
        for _ in range(60_000):
            if not runner._owed or runner._life.results.qsize():
                break
            pause.wait(0.001)
        else:
            pytest.fail("a network's thread does not answer")


def test_a_network_that_sleeps_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, model: str, ladder: NDArray[Any], sleep: Fault
) -> None:
    concealer = _with(monkeypatch, model, sleep)
    np.testing.assert_allclose(_play(concealer), ladder, atol=2e-5)
    assert concealer.stats.network.network_late == 1
    assert concealer.stats.network.network_refused > 10
    assert concealer.stats.network.network_done == 0
    concealer.close()


@pytest.mark.usefixtures("patient")
def test_a_network_that_throws_is_replaced_by_the_draft(
    monkeypatch: pytest.MonkeyPatch, model: str, ladder: NDArray[Any]
) -> None:
    concealer = _with(monkeypatch, model, _throw)
    np.testing.assert_allclose(_play(concealer), ladder, atol=2e-5)
    assert concealer.stats.network.network_late == 0
    assert concealer.stats.network.network_failed >= 2
    assert concealer.stats.network.network_off > 0
    concealer.close()


def test_one_that_throws_is_noticed_where_no_packet_comes_to_hear_of_it(
    monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Bursts of one packet, after which a network of music is only asked."""
    concealer = _with(monkeypatch, model, _throw)
    counters = concealer.stats.network
    for k, packet in enumerate(SIGNAL.reshape(-1, PACKET, 1)):
        runs = counters.network_runs
        concealer.push(None if k % 20 == 10 else packet)
        if counters.network_runs > runs:
            _wait_for_answers(concealer)
    assert counters.network_done == counters.network_dropped == 0
    # It is switched off, tried once more when a second has passed, and off again.
    assert counters.network_failed == counters.network_runs == 3
    assert counters.network_off > 0
    found = concealer.describe()["networks"]["music"]
    assert (found["state"], found["error"]) == ("off", "out of memory")
    assert concealer.stats.rung_changes == 3
    concealer.close()


@pytest.mark.usefixtures("patient")
def test_a_killed_worker_costs_no_packet(
    monkeypatch: pytest.MonkeyPatch, model: str, ladder: NDArray[Any]
) -> None:
    def die(out: NDArray[np.float32]) -> bool:
        raise SystemExit("killed")

    concealer = _with(monkeypatch, model, die)
    np.testing.assert_allclose(_play(concealer), ladder, atol=2e-5)
    assert concealer.stats.network.network_failed >= 1
    assert concealer.stats.network.network_restarts == 0
    assert concealer.describe()["networks"]["music"]["state"] == "ended"
    concealer.close()


def test_a_packet_that_waits_for_a_network_waits_no_longer_than_its_time(
    monkeypatch: pytest.MonkeyPatch, model: str, sleep: Fault
) -> None:
    """On a clock that waiting alone moves, a sleeper takes what is left of the time, once."""
    now_s = 0.0
    waits_s: list[float] = []

    next_result = NetworkWorker._next_result

    def wait(self: NetworkWorker, wait_s: float) -> int | None:
        nonlocal now_s
        if wait_s > 0.0:
            waits_s.append(wait_s)
            now_s += wait_s
            return next_result(self, 0.0)
        return next_result(self, wait_s)

    monkeypatch.setattr(NetworkWorker, "_next_result", wait)
    concealer = _with(monkeypatch, model, sleep, clock=lambda: now_s)
    assert np.isfinite(_play(concealer)).all()
    assert 0.0 < sum(waits_s) == now_s < 5e-3
    assert concealer.stats.deadline_misses == 0
    assert concealer.stats.network.network_late == 1
    concealer.close()


def test_a_burst_of_one_packet_leaves_a_gpu_warm(
    monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Its network is asked, and no second packet comes to collect the answer."""
    now_s = 0.0
    concealer = _with(monkeypatch, model, _silence, on_gpu=True, clock=lambda: now_s)
    counters = concealer.stats.network
    packets = SIGNAL.reshape(-1, PACKET, 1)
    for packet in packets[:60]:
        concealer.push(packet)
    concealer.push(None)
    assert counters.network_runs == 1
    for packet in packets[61:100]:
        _wait_for_answers(concealer)
        now_s += 1 / 64  # binary: rounding must not make it less than the idle time
        concealer.push(packet)
    assert counters.network_dropped == 1
    networks = 2  # as of one for music and one for speech
    assert counters.network_warm_runs == networks * 39
    concealer.close()


def test_whatever_a_network_makes_there_is_no_click(
    monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Silence in place of a tone, from the second packet on, and back at the recovery."""

    sine = (0.5 * np.sin(2 * np.pi * 440 / RATE * np.arange(RATE))).astype(np.float32)
    trace = np.zeros(100, bool)
    trace[50:54] = True
    monkeypatch.setattr(served, "open_network", lambda *_, **__: _Network(_silence))
    concealer = Concealer(RATE, 1, PACKET, model=model, budget_ms=float("inf"))
    packets = sine.reshape(-1, PACKET, 1)
    out = [
        concealer.push(None if lost else packet)
        for lost, packet in zip(trace, packets, strict=True)
    ]
    heard = np.concatenate(out)[:, 0]
    assert concealer.stats.network.network_done == 1
    assert np.abs(heard[51 * PACKET + 40 : 54 * PACKET - 10]).max() < 1e-3
    # A quarter of a millisecond for all of the amplitude, at most; the sine's own is 0.086.
    assert np.abs(np.diff(heard)).max() < 0.5 / 8 + 0.09
