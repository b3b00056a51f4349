"""The context encoder in streams: its fills are those of files, and lateness costs no samples."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer, conceal
from plc.engine.networks.encoder import (
    EXTENSIONS,
    SIDE_SAMPLES,
    AnyRateEncoder,
    ContextEncoder,
    open_context_encoder,
)
from plc.engine.runtime.worker import Result
from plc.engine.stream import waiting_encoder
from plc.engine.stream.waiting_encoder import Effort, FillCost
from plc.errors import ConfigError, ModelError
from tests.plc.engine.networks.test_encoder import write_context_encoder
from tests.plc.workers import Told
from tests.signals import noise, tones

pytest.importorskip("onnxruntime")

RATE = 16_000
PACKET = 160
LOOKAHEAD = 20
NAME = "network:tiny"


@pytest.fixture(params=[False, True], ids=["magnitudes", "complex"])
def model(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return a network that answers with frames of what lies before the gap."""
    return write_context_encoder(tmp_path, request.param)


def in_file(model: Path, signal: NDArray[np.float32], gap: tuple[int, int]) -> NDArray[np.float32]:
    """Return a gap as files have it, shape (samples, channels)."""
    encoder = open_context_encoder(model)
    rows = [encoder.fill(np.ascontiguousarray(row), gap) for row in signal.T]
    return np.stack(rows, axis=1)


def stream(model: Path, **settings: Any) -> Concealer:
    """Return a stream without a time limit."""
    settings = {"sample_rate": RATE, "budget_ms": float("inf")} | settings
    return Concealer(model=str(model), **settings)


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fills cost little, whatever else the machine has to do while they are timed."""
    monkeypatch.setattr(waiting_encoder, "measure_fill", lambda *_: FillCost((1.0, 0.5), 0.01))


def played(
    concealer: Concealer, signal: NDArray[np.float32], lost: set[int], pause_s: float = 0.0
) -> NDArray[np.float32]:
    """Push a signal, shape (samples, channels); return what was played, without the delay."""
    n = concealer.config.packet_samples
    heard: list[NDArray[np.float32]] = []
    for k in range(len(signal) // n + concealer.config.lookahead):
        packet = signal[k * n : (k + 1) * n]
        packet = packet if len(packet) else np.zeros((n, signal.shape[1]), np.float32)
        heard.append(concealer.push(None if k in lost else packet).astype(np.float32))
        time.sleep(pause_s)
    return np.concatenate(heard)[concealer.delay :]


@pytest.mark.parametrize(
    ("packet", "lookahead", "lost"),
    [
        (PACKET, LOOKAHEAD, range(40, 41)),
        (PACKET, LOOKAHEAD + 7, range(40, 44)),
        (320, 10, range(20, 23)),
        (1000, 4, range(6, 7)),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_streams_fill_is_the_files(
    model: Path, packet: int, lookahead: int, lost: range, channels: int
) -> None:
    samples = packet * (12_000 // packet)
    signal = np.stack([tones(k, RATE, samples, level=0.3) for k in range(channels)], axis=1)
    concealer = stream(model, packet_samples=packet, channels=channels, lookahead=lookahead)
    heard = played(concealer, signal, set(lost))
    gap = (lost.start * packet, lost.stop * packet)
    expected = in_file(model, signal, gap)
    assert concealer.stats.fills_limited == 0
    np.testing.assert_allclose(heard[slice(*gap)], expected, atol=1e-6)
    assert np.abs(heard[slice(*gap)] - signal[slice(*gap)]).max() > 1e-4  # it is no copy
    assert concealer.stats.rung_samples[NAME] == len(lost) * packet
    assert concealer.stats.network.network_done == 1
    heard[slice(*gap)] = signal[slice(*gap)]
    np.testing.assert_array_equal(heard, signal)  # all else left bit for bit


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_a_stream_of_another_rate_is_filled_nearly_as_a_file(model: Path, rate: int) -> None:
    packet = rate // 100
    t = np.arange(75 * packet) / rate
    waves = [np.sin(2.0 * np.pi * hertz * t) for hertz in (331.0, 1_207.0, 3_511.0)]
    signal = (0.1 * np.sum(waves, axis=0)).astype(np.float32)[:, None]
    concealer = stream(model, sample_rate=rate, packet_samples=packet, lookahead=LOOKAHEAD)
    heard = played(concealer, signal, {40, 41})
    gap = (40 * packet, 42 * packet)
    encoder = AnyRateEncoder(open_context_encoder(model), rate)
    # There is nothing above 8 kHz, so what stands in the gap hardly matters.
    expected = encoder.fill(signal[:, 0].copy(), gap)
    error = float(np.square(heard[slice(*gap), 0] - expected).sum())
    assert error < 0.01 * float(np.square(expected).sum())
    assert concealer.stats.rung_samples[NAME] == 2 * packet
    heard[slice(*gap)] = signal[slice(*gap)]
    np.testing.assert_array_equal(heard, signal)


def test_a_part_of_a_packet_is_filled_as_in_a_file(model: Path) -> None:
    signal = tones(3, RATE, 9_600, level=0.3)[:, None]
    concealer = stream(model, packet_samples=PACKET, lookahead=LOOKAHEAD)
    heard: list[NDArray[np.float32]] = []
    for k in range(60 + LOOKAHEAD):
        packet = signal[k * PACKET :][:PACKET] if k < 60 else np.zeros((PACKET, 1), np.float32)
        missing = [(40, 130)] if k == 30 else []
        heard.append(concealer.push(packet, missing=missing).astype(np.float32))
    line = np.concatenate(heard)[concealer.delay :]
    gap = (30 * PACKET + 40, 30 * PACKET + 130)
    np.testing.assert_allclose(line[slice(*gap)], in_file(model, signal, gap), atol=1e-6)


def test_many_losses_leave_all_received_samples_bit_for_bit(model: Path) -> None:
    signal = tones(4, RATE, 32_000, level=0.3)[:, None]
    rng = np.random.default_rng(1)
    lost = {int(k) for k in np.flatnonzero(rng.random(200) < 0.1)}
    concealer = stream(model, packet_samples=PACKET, lookahead=LOOKAHEAD)
    heard = played(concealer, signal, lost)
    assert concealer.stats.network.network_done > 5
    assert np.isfinite(heard).all()
    assert concealer.stats.crossfaded_samples == 0
    received = np.repeat([k not in lost for k in range(200)], PACKET)
    np.testing.assert_array_equal(heard[received], signal[received])


def test_further_losses_in_the_context_are_predicted_from_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal = tones(5, RATE, 12_000, level=0.3)[:, None]
    seen: list[NDArray[np.float32]] = []
    fill = ContextEncoder.fill

    def watched(self: ContextEncoder, line: NDArray[np.float32], *rest: Any, **more: Any) -> Any:
        seen.append(line.copy())
        return fill(self, line, *rest, **more)

    path = write_context_encoder(tmp_path, True)
    concealer = stream(path, packet_samples=PACKET, lookahead=LOOKAHEAD)
    monkeypatch.setattr(ContextEncoder, "fill", watched)
    played(concealer, signal, {40, 46, 47})
    assert len(seen) == 2  # one for each gap
    truth = signal[40 * PACKET - SIDE_SAMPLES :][: 2 * SIDE_SAMPLES, 0]
    further = slice(SIDE_SAMPLES + 6 * PACKET, SIDE_SAMPLES + 8 * PACKET)
    error = float(((seen[0] - truth)[further] ** 2).sum())
    assert 0.0 < error < 0.2 * float((truth[further] ** 2).sum())
    known = np.delete(np.arange(truth.size), np.r_[SIDE_SAMPLES : SIDE_SAMPLES + PACKET, further])
    np.testing.assert_array_equal(seen[0][known], truth[known])


def scripted(concealer: Concealer, outcome: Result) -> Told:
    """Give a stream's network other outcomes."""
    assert concealer._method.outside is not None
    filler = concealer._method.outside.encoder
    assert filler is not None
    vars(filler)["worker"] = worker = Told(outcome, answer=0.25)
    return worker


@pytest.mark.parametrize("outcome", [Result.LATE, Result.FAILED, Result.ABSENT])
def test_without_an_answer_the_bridge_of_prediction_is_played(
    tmp_path: Path, outcome: Result
) -> None:
    signal = tones(6, RATE, 12_000, level=0.3)[:, None]
    settings = {"packet_samples": PACKET, "lookahead": LOOKAHEAD}
    path = write_context_encoder(tmp_path, False)
    bridge = played(stream(Path("ar"), **settings), signal, {40})
    concealer = stream(path, **settings)
    worker = scripted(concealer, outcome)
    heard = played(concealer, signal, {40})
    np.testing.assert_array_equal(heard, bridge)
    assert len(worker.deadlines_s) == 1
    assert NAME not in {name for name, n in concealer.stats.rung_samples.items() if n}


def test_a_network_that_is_late_again_and_again_is_switched_off(tmp_path: Path) -> None:
    signal = tones(7, RATE, 8_000, level=0.3)[:, None]
    path = write_context_encoder(tmp_path, False)
    concealer = stream(path, packet_samples=PACKET, lookahead=LOOKAHEAD)
    worker = scripted(concealer, Result.LATE)
    played(concealer, signal, {20, 25, 30})
    assert len(worker.deadlines_s) == 2
    assert concealer.stats.network.network_off == 1
    assert concealer.describe()["networks"]["music, bridged"]["state"] == "off"


def test_a_late_answer_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt: None
) -> None:
    class Slow(waiting_encoder.StreamEncoder):
        armed = False

        def run(self, *arrays: NDArray[np.float32]) -> bool:
            if Slow.armed:
                time.sleep(0.15)
            return super().run(*arrays)

    monkeypatch.setattr(waiting_encoder, "StreamEncoder", Slow)
    signal = tones(8, RATE, 12_000, level=0.3)[:, None]
    settings = {"packet_samples": PACKET, "lookahead": LOOKAHEAD, "budget_ms": 50.0}
    path = write_context_encoder(tmp_path, False)
    with stream(path, **settings) as concealer:
        assert concealer.describe()["networks"]["music, bridged"]["mode"] == "worker"
        Slow.armed = True
        heard = played(concealer, signal, {40})
        assert concealer.stats.network.network_late == 1
        assert concealer.stats.network.network_done == 0
        time.sleep(0.2)
        concealer.push(signal[:PACKET])
        assert concealer.stats.network.network_dropped == 1
        received = np.delete(np.arange(len(signal)), np.s_[40 * PACKET : 41 * PACKET])
        np.testing.assert_array_equal(heard[received], signal[received])


def test_an_answer_in_time_comes_from_the_worker(tmp_path: Path, prompt: None) -> None:
    signal = tones(9, RATE, 12_000, level=0.3)[:, None]
    path = write_context_encoder(tmp_path, True)  # no iterations: as in a file, however many fit
    with stream(
        path, packet_samples=PACKET, lookahead=LOOKAHEAD, budget_ms=5_000.0, provider="cpu"
    ) as concealer:
        heard = played(concealer, signal, {40})
        assert concealer.stats.network.network_done == 1
        gap = (40 * PACKET, 41 * PACKET)
        np.testing.assert_allclose(heard[slice(*gap)], in_file(path, signal, gap), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"lookahead": 0}, r"lookahead is 0 packets \(0 ms\); give at least 20 \(200 ms\)"),
        ({"lookahead": 19}, "give at least 20"),
        ({"packet_samples": 320, "lookahead": 9}, r"give at least 10 \(200 ms\)"),
        ({"sample_rate": 8_000}, "is for 16000 to 192000 Hz, the signal has 8000 Hz"),
        ({"packet_samples": 1280, "lookahead": 3}, "gaps of up to 64 ms, the stream has packets"),
    ],
)
def test_streams_that_it_cannot_serve_are_refused(
    tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    path = write_context_encoder(tmp_path, False)
    settings = {"sample_rate": RATE, "packet_samples": PACKET, "lookahead": LOOKAHEAD}
    with pytest.raises(ConfigError, match=what):
        Concealer(model=str(path), **(settings | changes))


def test_windows_and_iterations_are_those_that_fit() -> None:
    cost = FillCost(fills_ms=(6.0, 2.0), iteration_ms=0.1)
    assert cost.effort_in(1.9) is None
    assert cost.effort_in(2.05) == Effort(("centred",), 0)
    assert cost.effort_in(5.91) == Effort(("centred",), 39)
    assert cost.effort_in(6.01) == Effort(EXTENSIONS, 0)
    assert cost.effort_in(1000.0) == Effort(EXTENSIONS, 100)


def test_a_fill_with_less_effort_is_a_files_with_as_much(tmp_path: Path) -> None:
    path = write_context_encoder(tmp_path, False)
    signal = tones(14, RATE, 12_000, level=0.3)[:, None]
    concealer = stream(path, packet_samples=PACKET, lookahead=LOOKAHEAD)
    assert concealer._method.outside is not None
    filler = concealer._method.outside.encoder
    assert filler is not None
    filler._grant.effort = Effort(("centred",), 7)
    heard = played(concealer, signal, {40})
    gap = (40 * PACKET, 41 * PACKET)
    encoder = open_context_encoder(path)
    expected = encoder.fill(signal[:, 0].copy(), gap, ("centred",), 7)
    np.testing.assert_allclose(heard[slice(*gap), 0], expected, atol=1e-6)


def test_fills_are_timed_where_there_is_a_time_limit(tmp_path: Path) -> None:
    path = write_context_encoder(tmp_path, False)
    settings = {"packet_samples": PACKET, "lookahead": LOOKAHEAD, "provider": "cpu"}
    with stream(path, budget_ms=1e6, **settings) as concealer:
        found = concealer.describe()["networks"]["music, bridged"]
        assert found["cost_ms"] > found["least_cost_ms"] > found["iteration_ms"] > 0.0
    found = stream(path, **settings).describe()["networks"]["music, bridged"]
    assert not {"cost_ms", "least_cost_ms", "iteration_ms"} & set(found)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every fill cost 30 ms, whatever it is."""
    monkeypatch.setattr(waiting_encoder, "measure_fill", lambda *_: FillCost((90.0, 30.0), 1.0))


@pytest.mark.usefixtures("slow")
def test_a_slow_network_is_left_out_and_the_lookahead_named_that_would_do(tmp_path: Path) -> None:
    path = write_context_encoder(tmp_path, False)
    settings = {"packet_samples": PACKET, "budget_ms": 2.5}
    with stream(path, lookahead=LOOKAHEAD, **settings) as concealer:
        found = concealer.describe()["networks"]["music, bridged"]
        assert found["mode"] == "left out"
        assert "lookahead=24 (240 ms) would do" in found["why"]
        signal = tones(10, RATE, 8_000, level=0.3)[:, None]
        assert np.isfinite(played(concealer, signal, {30})).all()
        assert concealer.stats.network.network_runs == 0
    with stream(path, lookahead=24, **settings) as concealer:
        assert concealer.describe()["networks"]["music, bridged"]["mode"] == "worker"


def test_nothing_of_one_stream_is_left_in_the_next(model: Path) -> None:
    signal = tones(11, RATE, 12_000, level=0.3)[:, None]
    concealer = stream(model, packet_samples=PACKET, lookahead=LOOKAHEAD)
    first = played(concealer, signal, {40})
    concealer.push(None)
    concealer.reset()
    np.testing.assert_array_equal(played(concealer, signal, {40}), first)


def test_gaps_at_the_ends_are_bridged_without_the_network(tmp_path: Path) -> None:
    path = write_context_encoder(tmp_path, False)
    signal = tones(12, RATE, 8_000, level=0.3)
    lost = np.zeros(50, bool)
    lost[[3, 49]] = True  # too little before; nothing after
    heard = conceal(
        signal,
        lost,
        sample_rate=RATE,
        packet_samples=PACKET,
        lookahead=LOOKAHEAD,
        model=str(path),
    )
    assert heard.shape == signal.shape
    assert np.isfinite(heard).all()


def test_an_unsound_answer_counts_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_context_encoder(tmp_path, False)
    concealer = stream(path, packet_samples=PACKET, lookahead=LOOKAHEAD)

    def unsound(*_: Any, **__: Any) -> NDArray[np.float32]:
        raise ModelError("the network answers with values that are not finite; train it again")

    monkeypatch.setattr(ContextEncoder, "fill", unsound)
    heard = played(concealer, noise(13, 12_000)[:, None] * np.float32(0.1), {40})
    assert np.isfinite(heard).all()
    assert concealer.stats.network.network_failed == 1
    assert "not finite" in concealer.describe()["networks"]["music, bridged"]["error"]
