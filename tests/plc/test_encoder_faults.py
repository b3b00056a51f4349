"""A network that sleeps, dies or lies behind a live stream: always audio, and no click."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")

from plc import Concealer, voice
from plc.loss import GilbertElliott
from tests.plc.tiny_models import write_model
from tests.signals import tones

RATE = 16_000
PACKET = 160
SIGNAL = tones(21, RATE, 2 * RATE)
TRACE = GilbertElliott(0.3, 4.0).trace(200, 5)


class _Runner:
    """Behaves for the calibration at construction, and then as ``fault`` says."""

    on_gpu = False
    last_error = ""

    def __init__(self, fault: Callable[[NDArray[np.float32]], bool], runs: list[int]) -> None:
        self._fault = fault
        self._runs = runs

    def run(
        self, spectra: NDArray[np.float32], lost: NDArray[np.float32], out: NDArray[np.float32]
    ) -> bool:
        self._runs.append(1)
        if len(self._runs) <= voice.CALIBRATION_RUNS:
            out[:] = 0.0
            return True
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
    monkeypatch: pytest.MonkeyPatch, model: str, fault: Callable[[NDArray[np.float32]], bool]
) -> Concealer:
    runs: list[int] = []
    monkeypatch.setattr(voice, "open_encoder", lambda *_, **__: _Runner(fault, runs))
    monkeypatch.setattr(voice, "_costs", {})
    # A clock that stands still: rungs do not depend on the machine, and what is not there at
    # once is late when the wait of the budget ends.
    return Concealer(RATE, 1, PACKET, model=model, budget_ms=5.0, clock=lambda: 0.0)


@pytest.fixture
def ladder() -> NDArray[Any]:
    return _play(Concealer(RATE, 1, PACKET, model="ar", budget_ms=float("inf")))


@pytest.fixture
def asleep() -> Iterator[threading.Event]:
    """An event that sleepers wait for, and get at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def test_a_network_that_sleeps_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, model: str, ladder: NDArray[Any], asleep: threading.Event
) -> None:
    def sleep(out: NDArray[np.float32]) -> bool:
        asleep.wait(60.0)
        return True

    concealer = _with(monkeypatch, model, sleep)
    np.testing.assert_allclose(_play(concealer), ladder, atol=2e-5)
    assert concealer.stats.encoder.encoder_late == 1
    assert concealer.stats.encoder.encoder_refused > 10
    assert concealer.stats.encoder.encoder_done == 0
    concealer.close()


def test_a_network_that_throws_is_replaced_by_the_draft(
    monkeypatch: pytest.MonkeyPatch, model: str, ladder: NDArray[Any]
) -> None:
    def throw(out: NDArray[np.float32]) -> bool:
        raise RuntimeError("out of memory")

    concealer = _with(monkeypatch, model, throw)
    np.testing.assert_allclose(_play(concealer), ladder, atol=2e-5)
    assert concealer.stats.encoder.encoder_failed >= 2
    assert concealer.stats.encoder.encoder_off > 0
    concealer.close()


def test_a_killed_worker_costs_no_packet(
    monkeypatch: pytest.MonkeyPatch, model: str, ladder: NDArray[Any]
) -> None:
    def die(out: NDArray[np.float32]) -> bool:
        raise SystemExit("killed")

    concealer = _with(monkeypatch, model, die)
    np.testing.assert_allclose(_play(concealer), ladder, atol=2e-5)
    assert concealer.stats.encoder.encoder_failed >= 1
    assert concealer.stats.encoder.encoder_restarts >= 1
    concealer.close()


def test_whatever_a_network_makes_there_is_no_click(
    monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Silence in place of a tone, from the second packet on, and back at the recovery."""

    def silence(out: NDArray[np.float32]) -> bool:
        out[:] = 0.0
        return True

    sine = (0.5 * np.sin(2 * np.pi * 440 / RATE * np.arange(RATE))).astype(np.float32)
    trace = np.zeros(100, bool)
    trace[50:54] = True
    monkeypatch.setattr(voice, "open_encoder", lambda *_, **__: _Runner(silence, []))
    concealer = Concealer(RATE, 1, PACKET, model=model, budget_ms=float("inf"))
    packets = sine.reshape(-1, PACKET, 1)
    out = [
        concealer.push(None if lost else packet)
        for lost, packet in zip(trace, packets, strict=True)
    ]
    heard = np.concatenate(out)[:, 0]
    assert concealer.stats.encoder.encoder_done == 1
    assert np.abs(heard[51 * PACKET + 40 : 54 * PACKET - 10]).max() < 1e-3
    # A quarter of a millisecond for all of the amplitude, at most; the sine's own is 0.086.
    assert np.abs(np.diff(heard)).max() < 0.5 / 8 + 0.09
