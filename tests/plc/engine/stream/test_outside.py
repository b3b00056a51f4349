"""A network that sleeps, dies or lies behind a live stream: always audio, and no click."""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")

from plc import Concealer, conceal
from plc.engine.loss import GilbertElliott
from plc.engine.networks.flat import MUSIC_DRAFTS, SPEECH_DRAFTS
from plc.engine.runtime.worker import NetworkWorker, Result, next_result
from plc.engine.stream import outside
from plc.engine.stream.concealment import StepPrediction
from plc.engine.stream.dependencies import Dependencies
from plc.engine.stream.outside import OutsideNetworks
from plc.errors import ConfigError, MissingExtraError, ModelError
from plc.files.distances import nmse_db
from tests.plc.tiny_models import write_model
from tests.plc.workers import FakeNetwork, Told
from tests.signals import noise, tones, voice

Results = queue.SimpleQueue[int]
Fault = Callable[[NDArray[np.float32]], bool]

RATE = 16_000
PACKET = 160
SIGNAL = tones(21, RATE, 2 * RATE)
TRACE = GilbertElliott(0.3, 4.0).trace(200, 5)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_model(tmp_path, "last", drafts=MUSIC_DRAFTS, top_hz=8000.0))


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
    monkeypatch.setattr(outside, "open_network", lambda *_, **__: FakeNetwork(fault, on_gpu))
    # A clock that stands still: rungs do not depend on the machine, and what is not there at
    # once is late when the wait of the budget ends.
    return Concealer(RATE, 1, PACKET, model=model, budget_ms=5.0, clock=clock, prepare="never")


@pytest.fixture
def ladder() -> NDArray[Any]:
    return _play(Concealer(RATE, 1, PACKET, model="ar", budget_ms=float("inf")))


def _as_good(played: NDArray[Any], ladder: NDArray[Any]) -> bool:
    """Tell whether drafts, and prediction where the network is off, are no worse than that."""
    lost = np.repeat(TRACE, PACKET)
    errors = [nmse_db(SIGNAL, each.astype(float), lost) for each in (played, ladder)]
    return bool(np.isfinite(played).all()) and errors[0] < errors[1] + 0.5


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

    def wait(results: Results, wait_s: float) -> int | None:
        return next_result(results, 60.0 if wait_s > 0.0 else wait_s)

    monkeypatch.setattr(Concealer, "dependencies", Dependencies(next_result=wait))


def _throw(out: NDArray[np.float32]) -> bool:
    raise RuntimeError("out of memory")


def _silence(out: NDArray[np.float32]) -> bool:
    out[:] = 0.0
    return True


def _outside(concealer: Concealer) -> OutsideNetworks:
    found = concealer._method.outside
    assert found is not None
    return found


def _wait_for_answers(concealer: Concealer) -> None:
    """Wait until the networks' threads have given back what they were asked last."""
    pause = threading.Event()
    for each in _outside(concealer).networks.values():
        worker = each.worker
        assert isinstance(worker, NetworkWorker)
        for _ in range(60_000):
            if not worker._owed or worker._life.results.qsize():
                break
            pause.wait(0.001)
        else:
            pytest.fail("a network's thread does not answer")


def test_a_network_that_sleeps_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, model: str, ladder: NDArray[Any], sleep: Fault
) -> None:
    concealer = _with(monkeypatch, model, sleep)
    assert _as_good(_play(concealer), ladder)
    assert concealer.stats.network.network_late == 1
    assert concealer.stats.network.network_refused > 10
    assert concealer.stats.network.network_done == 0
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
    assert _as_good(_play(concealer), ladder)
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

    def wait(results: Results, wait_s: float) -> int | None:
        nonlocal now_s
        if wait_s > 0.0:
            waits_s.append(wait_s)
            now_s += wait_s
        return next_result(results, 0.0)

    monkeypatch.setattr(Concealer, "dependencies", Dependencies(next_result=wait))
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
    assert counters.network_warm_runs == 39
    concealer.close()


def test_whatever_a_network_makes_there_is_no_click(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Silence in place of a tone, and back at the recovery."""

    sine = (0.5 * np.sin(2 * np.pi * 440 / RATE * np.arange(RATE))).astype(np.float32)
    trace = np.zeros(100, bool)
    trace[50:54] = True
    monkeypatch.setattr(outside, "open_network", lambda *_, **__: FakeNetwork(_silence))
    concealer = Concealer(RATE, 1, PACKET, model=_of_speech(tmp_path), budget_ms=float("inf"))
    packets = sine.reshape(-1, PACKET, 1)
    out = [
        concealer.push(None if lost else packet)
        for lost, packet in zip(trace, packets, strict=True)
    ]
    heard = np.concatenate(out)[:, 0]
    assert concealer.stats.network.network_done == 1
    assert np.abs(heard[50 * PACKET + 40 : 54 * PACKET - 10]).max() < 1e-3
    # A quarter of a millisecond for all of the amplitude, at most; the sine's own is 0.086.
    assert np.abs(np.diff(heard)).max() < 0.5 / 8 + 0.09


# ---- what the networks of a stream are asked, and when -------------------------------------------


def _of_speech(folder: Path, graph: str = "last", **changes: Any) -> str:
    settings: dict[str, Any] = {"drafts": SPEECH_DRAFTS, "top_hz": 8000.0, "content": "speech"}
    return str(write_model(folder, graph, **(settings | changes)))


def _told(concealer: Concealer, *outcomes: Result) -> Told:
    """Have the only network of a stream answer so."""
    (network,) = _outside(concealer).networks.values()
    network.worker.close()
    vars(network)["worker"] = told = Told(*outcomes)
    return told


def _lossy(every: int, seconds: float = 2.0) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the packets of a voice, and which are lost."""
    signal = voice(RATE, seconds, 120.0, 1.0)
    packets = signal[: signal.size // PACKET * PACKET].reshape(-1, PACKET, 1)
    lost = np.zeros(len(packets), bool)
    lost[50::every] = True
    return packets, lost


def test_samples_are_those_of_the_network_up_to_its_horizon(tmp_path: Path) -> None:
    packets, _ = _lossy(1)
    out: list[NDArray[Any]] = []
    for graph in ("last", "lost"):
        stream = Concealer(RATE, 1, PACKET, model=_of_speech(tmp_path, graph), budget_ms=np.inf)
        out.append(
            np.concatenate([stream.push(p if k < 50 else None) for k, p in enumerate(packets)])
        )
    difference = np.abs(out[1] - out[0])[50 * PACKET :, 0]
    horizon = 960
    assert difference[100:300].max() > 1e-3
    np.testing.assert_allclose(difference[horizon : 2 * horizon], 0.0, atol=1e-5)
    assert difference[0] < 0.1 * difference[100:800].max()


def test_music_plays_the_draft_first_and_the_network_from_the_second_packet(
    tmp_path: Path,
) -> None:
    packets = tones(12, RATE, RATE).reshape(-1, PACKET, 1)
    out: list[NDArray[Any]] = []
    names = []
    for graph in ("last", "lost"):
        model = write_model(tmp_path, graph, drafts=MUSIC_DRAFTS, top_hz=8000.0)
        stream = Concealer(RATE, 1, PACKET, model=str(model), budget_ms=np.inf)
        played = []
        for k, packet in enumerate(packets):
            played.append(stream.push(packet if k < 90 else None))
            names.append(stream._method.name)
        out.append(np.concatenate(played)[90 * PACKET :, 0])
    difference = np.abs(out[1] - out[0])
    np.testing.assert_allclose(difference[:PACKET], 0.0, atol=1e-6)
    assert difference[PACKET] < 0.1 * difference[PACKET + 20 : 800].max()
    assert names[-10].startswith("ar:")
    assert names[-9] == "network:lost"


def test_in_small_packets_the_draft_is_played_for_10_ms(tmp_path: Path) -> None:
    model = str(write_model(tmp_path, "lost", drafts=MUSIC_DRAFTS, top_hz=8000.0))
    stream = Concealer(RATE, 1, 40, model=model, budget_ms=np.inf)
    for packet in tones(12, RATE, RATE).reshape(-1, 40, 1):
        stream.push(packet)
    played = []
    for _ in range(8):
        stream.push(None)
        played.append(stream._method.name.startswith("network:"))
    assert played == [False] * 4 + [True] * 4


def test_repeated_misses_switch_the_network_off_and_calm_brings_it_back(tmp_path: Path) -> None:
    stream = Concealer(RATE, 1, PACKET, model=_of_speech(tmp_path), budget_ms=np.inf)
    worker = _told(stream, Result.LATE, Result.LATE, Result.DONE)
    packets, lost = _lossy(10, 5.0)
    states = []
    for k, (packet, gone) in enumerate(zip(packets, lost, strict=True)):
        stream.push(None if gone else packet)
        if gone:
            states.append(stream.describe()["networks"]["speech"]["state"])
        if k == 75:
            worker.last_error = "out of memory"
            assert stream.describe()["networks"]["speech"]["error"] == "out of memory"
    assert states[:3] == ["on", "off", "off"]
    assert states[-1] == "on"
    assert stream.stats.network.network_off > 0
    assert stream.stats.rung_samples["network:last"] > 0
    assert stream.stats.rung_changes == 2  # off and on
    stream.close()


def test_packets_that_take_too_long_turn_off_the_network_and_not_the_ladder(tmp_path: Path) -> None:
    """Where rows were made it is they that are left, not the best prediction."""
    stream = Concealer(RATE, 1, PACKET, model=_of_speech(tmp_path), budget_ms=np.inf)
    worker = _told(stream, Result.DONE)
    packets, lost = _lossy(10)
    for packet, gone in zip(packets, lost, strict=True):
        stream.push(None if gone else packet)
        if gone and worker.asked <= 2:
            (_outside(stream)._used,) = _outside(stream).networks.values()
            stream._method.took(late=True)
    assert isinstance(stream._method, StepPrediction)
    assert stream._method.pace.depth == 0
    assert stream.stats.network.network_off > 0


def test_nan_is_never_played(tmp_path: Path) -> None:
    model = _of_speech(tmp_path, "root")
    stream = Concealer(RATE, 1, PACKET, model=model, budget_ms=np.inf, clock=lambda: 0.0)
    assert np.isfinite(_play(stream)).all()
    assert stream.stats.network.network_failed >= 2
    assert stream.stats.network.network_off > 0


def test_a_stream_that_just_began_gets_the_draft(tmp_path: Path) -> None:
    stream = Concealer(RATE, 1, PACKET, model=_of_speech(tmp_path), budget_ms=np.inf)
    stream.push(SIGNAL[:PACKET])
    assert np.isfinite(stream.push(None)).all()
    assert not stream.stats.rung_samples["network:last"]


def test_a_live_stream_uses_a_worker_and_counts(tmp_path: Path) -> None:
    stream = Concealer(RATE, 1, PACKET, model=_of_speech(tmp_path), budget_ms=1e3, prepare="never")
    _play(stream)
    assert stream.describe()["networks"]["speech"]["mode"] == "worker"
    counters = stream.stats.as_dict()
    assert 0 < stream.stats.network.network_done <= stream.stats.network.network_runs
    assert counters["network_done"] == stream.stats.network.network_done
    stream.close()
    assert np.isfinite(_play(stream)).all()


def test_a_model_that_is_not_for_streams_is_refused(tmp_path: Path) -> None:
    model = str(
        write_model(tmp_path, "last", kind="inpaint", context_frames_after=2, top_hz=8000.0)
    )
    with pytest.raises(
        ConfigError,
        match="of kind inpaint; a stream needs one of causal, bridge or context_encoder",
    ):
        Concealer(RATE, 1, PACKET, model=model)
    with pytest.raises(ModelError, match="in the package"):
        Concealer(RATE, 1, PACKET, model="no-such-model")


@pytest.mark.parametrize(
    ("rate", "changes"),
    [(8_000, {"sample_rates": [16_000, 48_000]}), (16_000, {"horizon_ms": 200.0})],
)
def test_a_model_that_serves_no_burst_of_the_stream_is_refused(
    tmp_path: Path, rate: int, changes: dict[str, Any]
) -> None:
    model = write_model(tmp_path, "last", drafts=MUSIC_DRAFTS, top_hz=8000.0, **changes)
    with pytest.raises(ConfigError, match=f"the stream has {rate} Hz.*another model"):
        Concealer(rate, 1, rate // 100, model=str(model))


@pytest.mark.parametrize("error", [ModelError("SHA-256 differs"), MissingExtraError("broken")])
def test_what_cannot_be_opened_is_an_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr(outside, "open_network", refuse)
    for budget_ms in (5.0, float("inf")):
        with pytest.raises(type(error), match=str(error)):
            Concealer(RATE, 1, PACKET, provider="cpu", budget_ms=budget_ms)


@pytest.mark.parametrize("budget_ms", [5.0, float("inf")])
def test_a_provider_that_is_unknown_is_refused(tmp_path: Path, budget_ms: float) -> None:
    settings: dict[str, Any] = {"model": _of_speech(tmp_path), "budget_ms": budget_ms}
    heard = Concealer(RATE, 1, PACKET, **settings, provider="cpu")
    assert heard.push(None).shape == (PACKET, 1)
    heard.close()
    with pytest.raises((ConfigError, ModelError), match=r"provider is 'abacus'; known: auto"):
        Concealer(RATE, 1, PACKET, **settings, provider="abacus")


def _beats(seconds: float) -> NDArray[np.float32]:
    """Return a second of noise that dies away, again and again."""
    bar = noise(5, RATE) * np.exp(-4.0 * np.arange(RATE) / RATE).astype(np.float32)
    return np.tile(bar, math.ceil(seconds))[: round(seconds * RATE)]


def test_a_stream_that_repeats_itself_is_concealed_with_what_it_played(tmp_path: Path) -> None:
    signal = _beats(6.0)
    trace = np.zeros(600, np.bool_)
    trace[[299, 300, 301, 420, 421, 499, 500]] = True
    lost = np.repeat(trace, PACKET)
    model = str(write_model(tmp_path, "last", drafts=MUSIC_DRAFTS, top_hz=8000.0))
    settings: dict[str, Any] = {"sample_rate": RATE, "packet_samples": PACKET}
    errors = {
        name: nmse_db(signal, conceal(signal, trace, model=name, **settings).astype(float), lost)
        for name in (model, "ar")
    }
    assert errors["ar"] > -1.0
    assert errors[model] < -9.0


def test_a_stream_begun_anew_takes_no_passage_of_the_one_before(tmp_path: Path) -> None:
    model = str(write_model(tmp_path, "pass", drafts=MUSIC_DRAFTS, top_hz=8000.0))
    stream = Concealer(RATE, 1, PACKET, model=model, budget_ms=np.inf)
    packets = _beats(3.0).reshape(-1, PACKET, 1)
    played = []
    for _ in range(2):
        given = [None if 200 <= k < 202 else packet for k, packet in enumerate(packets)]
        played.append(np.concatenate([stream.push(packet) for packet in given]))
        stream.reset()
    np.testing.assert_array_equal(played[0], played[1])
    stream.close()


@pytest.mark.parametrize("name", ["speech", "music", "speech-bridge"])
def test_a_session_plays_what_the_kernels_play(name: str) -> None:
    """The whole stream, of which the forward pass alone is computed twice."""
    clip = "music" if name == "music" else "speech"
    signal, rate = soundfile.read(files("plc") / "data" / f"{clip}.flac", dtype="float32")
    packet = rate // 100
    packets = signal[: 4 * rate].reshape(-1, packet, *signal.shape[1:])
    lost = GilbertElliott(0.2, 2.0).trace(len(packets), 5)
    played = []
    for provider in ("auto", "cpu"):
        stream = Concealer(
            rate,
            packets.shape[2] if packets.ndim > 2 else 1,
            packet,
            lookahead=2 * (name == "speech-bridge"),
            model=name,
            provider=provider,
            budget_ms=np.inf,
        )
        given = zip(lost, packets, strict=True)
        played.append(np.concatenate([stream.push(None if gone else p) for gone, p in given]))
        assert stream.stats.network.network_done > 9
        assert stream.stats.network.network_failed == 0
        stream.close()
    apart = float(np.sum((played[0] - played[1]) ** 2) / np.sum(played[0] ** 2))
    # Of int8 kernels also take what a layer is given in steps; a session does not.
    assert 10.0 * math.log10(apart + 1e-30) < -50.0


def test_bursts_are_prepared_with_a_session_too() -> None:
    signal, rate = soundfile.read(files("plc") / "data" / "speech.flac", dtype="float32")
    packets = signal[: 4 * rate].reshape(-1, rate // 50, 1)
    lost = np.random.default_rng(3).random(len(packets)) < 0.15
    settings: dict[str, Any] = {"model": "speech", "budget_ms": 1e3, "provider": "cpu"}
    played: list[NDArray[Any]] = []
    for prepare in ("never", "always"):
        stream = Concealer(rate, 1, rate // 50, **settings, prepare=prepare)
        out = []
        for packet, gone in zip(packets, lost, strict=True):
            out.append(stream.push(None if gone else packet))
            until = time.monotonic() + 5.0  # a preparation that is missed is asked for anew
            while stream._ahead is not None and not stream._ahead.settled:
                if time.monotonic() > until:
                    break
                time.sleep(0.001)
        played.append(np.concatenate(out))
    assert stream.stats.ahead.concealed_prepared > 10
    assert stream.stats.network.network_done > 10
    stream.close()
    np.testing.assert_allclose(played[0], played[1], atol=1e-4)
