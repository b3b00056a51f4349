"""What is prepared before a loss is what a stream without a time limit would play."""

import gc
import math
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import plc
from plc import Concealer
from plc.audio.loss import GilbertElliott
from plc.engine.config import StreamConfig
from plc.errors import ConfigError, ModelError
from plc.networks.streams import served
from plc.networks.streams.ahead import AheadFiller
from plc.predict.filler import STEADY_MOMENT, Moment
from plc.predict.history import History
from plc.predict.linear import ArFiller
from plc.runtime import life
from tests.plc.networks.streams.fake_costs import costing
from tests.processes import environment
from tests.signals import nmse_db, tones, voice

RATE = 16_000
PACKET = 160
PATIENCE_S = 60.0
Trace = NDArray[np.bool_]


def _ahead(concealer: Concealer) -> AheadFiller:
    filler = concealer._filler
    assert isinstance(filler, AheadFiller)
    return filler


def _settle(concealer: Concealer) -> None:
    """Wait until all that was asked for is prepared."""
    end_s = time.monotonic() + PATIENCE_S
    while not _ahead(concealer).settled:
        assert time.monotonic() < end_s, "nothing was prepared"
        time.sleep(1e-4)


def _play(
    concealer: Concealer, signal: NDArray[np.float32], trace: Trace, wait: bool = True
) -> NDArray[Any]:
    packets = signal.reshape(trace.size, -1, concealer.config.channels)
    out = []
    for lost, packet in zip(trace, packets, strict=True):
        out.append(concealer.push(None if lost else packet))
        if wait:
            _settle(concealer)
    return np.concatenate(out)


def _voice(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    return np.resize(voice(rate, samples / rate, 140.0, 0.3, seed), samples)


@pytest.mark.parametrize(
    ("rate", "packet", "channels", "method", "make"),
    [
        (48_000, 480, 1, "ar", tones),
        (48_000, 480, 1, "auto", tones),
        (48_000, 960, 2, "auto", tones),
        (48_000, 64, 1, "ar", tones),
        (16_000, 160, 1, "auto", _voice),
        (16_000, 320, 1, "auto", tones),
        (8_000, 160, 1, "auto", _voice),
        (16_000, 1600, 1, "auto", tones),
    ],
)
def test_with_time_it_plays_what_a_stream_without_a_limit_does(
    rate: int, packet: int, channels: int, method: str, make: Any
) -> None:
    if method == "auto":
        pytest.importorskip("onnxruntime")
    packets = rate // packet + 30
    signal = make(7, rate, packets * packet).astype(np.float32)
    signal = np.ascontiguousarray(np.stack([signal, 0.5 * signal[::-1]][:channels], axis=1))
    trace = GilbertElliott(0.15, 2.0).trace(packets, 5)
    trace[-30:-5] |= packet < 1600
    settings: dict[str, Any] = {
        "sample_rate": rate,
        "channels": channels,
        "packet_samples": packet,
        "method": method,
    }
    unlimited = Concealer(**settings, budget_ms=math.inf)
    prepared = Concealer(**settings, prepare="always")
    try:
        expected = _play(unlimited, signal, trace, wait=False)
        found = _play(prepared, signal, trace)
    finally:
        prepared.close()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    ahead = prepared.stats.ahead
    assert ahead.concealed_stale == 0
    assert ahead.concealed_prepared > 0
    assert ahead.concealed_unprepared <= 1  # before anything was received
    assert prepared.stats.rung_samples == unlimited.stats.rung_samples


class _Watched(ArFiller):
    """Linear prediction whose :meth:`begin` may be held up, or fail."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__(RATE, 1, PACKET)
        self._act = act

    def begin(self, history: History, moment: Moment = STEADY_MOMENT) -> None:
        self._act()
        super().begin(history, moment)


def _stream(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], **settings: Any
) -> Concealer:
    """Return a stream whose preparations begin with ``act``."""

    def make(config: StreamConfig, *rest: Any) -> AheadFiller:
        return AheadFiller(
            (RATE, 1, PACKET),
            lambda: _Watched(act),
            lambda _: ArFiller(RATE, 1, PACKET, config.time_limit_ms),
            config.time_limit_ms,
            4 * RATE // 10,
            40,
            config.prepare == "auto",
            rest[-1],
        )

    monkeypatch.setattr("plc.engine.concealer.make_method", make)
    return Concealer(RATE, 1, PACKET, model="ar", **({"prepare": "always"} | settings))


def _unprepared(signal: NDArray[np.float32], trace: Trace) -> NDArray[Any]:
    """Return what a stream plays that prepares nothing and fits every rung."""
    concealer = Concealer(RATE, 1, PACKET, model="ar", prepare="never", budget_ms=1000.0)
    return _play(concealer, signal, trace, wait=False)


SIGNAL = tones(3, RATE, 60 * PACKET)
TRACE = np.zeros(60, np.bool_)
TRACE[[20, 21, 22, 35, 50, 51]] = True


def test_what_is_not_ready_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    concealer = _stream(monkeypatch, lambda: released.wait(PATIENCE_S), budget_ms=1000.0)
    try:
        found = _play(concealer, SIGNAL, TRACE, wait=False)
    finally:
        released.set()
        concealer.close()
    np.testing.assert_allclose(found, _unprepared(SIGNAL, TRACE), atol=1e-6)
    ahead = concealer.stats.ahead
    assert (ahead.concealed_prepared, ahead.concealed_stale) == (0, TRACE.sum())


def test_a_burst_turns_to_what_became_ready_late(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    gate.set()
    concealer = _stream(monkeypatch, lambda: gate.wait(PATIENCE_S))
    signal = SIGNAL.reshape(-1, PACKET, 1)
    for packet in signal[:29]:
        concealer.push(packet)
        _settle(concealer)
    gate.clear()
    concealer.push(signal[29])
    first = concealer.push(None)
    gate.set()
    _settle(concealer)
    second = concealer.push(None)
    concealer.close()
    ahead = concealer.stats.ahead
    assert (ahead.concealed_stale, ahead.concealed_prepared) == (1, 1)
    steps = np.abs(np.diff(np.concatenate([first, second])[:, 0]))
    assert steps[PACKET - 1] <= steps.max() * 1.001
    assert np.abs(second[:, 0] - signal[31, :, 0]).max() < 0.5 * np.abs(signal[31]).max()


def test_a_preparation_that_raises_costs_no_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    def throw() -> None:
        raise RuntimeError("out of memory")

    concealer = _stream(monkeypatch, throw, budget_ms=1000.0)
    found = _play(concealer, SIGNAL, TRACE)
    np.testing.assert_allclose(found, _unprepared(SIGNAL, TRACE), atol=1e-6)
    assert concealer.stats.ahead.preparations_failed >= 40
    assert concealer.describe()["prepared"]["error"] == "out of memory"
    concealer.close()


def test_a_thread_that_ends_is_replaced_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def die() -> None:
        raise SystemExit

    concealer = _stream(monkeypatch, die, budget_ms=1000.0)
    packets = SIGNAL.reshape(-1, PACKET, 1)
    out = []
    for lost, packet in zip(TRACE, packets, strict=True):
        out.append(concealer.push(None if lost else packet))
        _ahead(concealer)._preparer.over.wait(0.05)
    np.testing.assert_allclose(np.concatenate(out), _unprepared(SIGNAL, TRACE), atol=1e-6)
    assert concealer.stats.ahead.preparers_restarted == 3
    assert concealer.describe()["prepared"]["state"] == "ended"
    concealer.close()


def test_a_thread_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    hang = [True]

    def act() -> None:
        if hang[0]:
            hang[0] = False
            released.wait(PATIENCE_S)

    concealer = _stream(monkeypatch, act)
    filler = _ahead(concealer)
    packets = SIGNAL.reshape(-1, PACKET, 1)
    concealer.push(packets[0])
    end_s = time.monotonic() + PATIENCE_S
    while hang[0]:
        assert time.monotonic() < end_s
        time.sleep(1e-3)
    filler._keeper._clock = lambda: time.monotonic() + 10.0
    concealer.push(packets[1])
    assert filler._preparer.opened.wait(PATIENCE_S)
    filler._keeper._clock = time.monotonic
    for packet in packets[2:20]:
        concealer.push(packet)
        _settle(concealer)
    concealer.push(None)
    released.set()
    assert concealer.stats.ahead.preparers_restarted == 1
    assert concealer.stats.ahead.concealed_prepared == 1
    concealer.close()


def test_threads_in_good_health_earn_restarts_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plc.networks.streams.prepared._HEALTHY", 10)
    concealer = _stream(monkeypatch, lambda: None)
    filler = _ahead(concealer)
    filler._keeper.restarts = 1
    for packet in np.resize(SIGNAL, (32, PACKET, 1)):
        concealer.push(packet)
        _settle(concealer)
    assert filler._keeper.restarts == 3
    concealer.close()


def test_too_late_steps_down_and_calm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    concealer = _stream(monkeypatch, lambda: gate.wait(PATIENCE_S), prepare="auto")
    filler = _ahead(concealer)
    filler.pace._top_ms = 1.0
    packets = np.resize(SIGNAL, (400, PACKET, 1))
    for packet in packets[:20]:
        concealer.push(packet)
    assert filler.pace.depth > 0
    assert filler.pace.most_ms < 1.0
    gate.set()
    for packet in packets:
        concealer.push(packet)
        _settle(concealer)
    assert filler.pace.depth < 3
    concealer.close()


def test_an_error_at_opening_is_the_streams() -> None:
    def fail() -> ArFiller:
        raise ModelError("not sound")

    with pytest.raises(ModelError, match="not sound"):
        AheadFiller((RATE, 1, PACKET), fail, lambda inner: inner, 2.5, RATE, 40, False)


def test_a_stream_faster_than_its_time_pauses_preparing(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    concealer = _stream(monkeypatch, lambda: released.wait(PATIENCE_S), prepare="auto")
    packets = np.resize(SIGNAL, (100, PACKET, 1))
    for packet in packets:
        concealer.push(packet)
    assert concealer.describe()["prepared"]["state"] == "paused"
    asked = concealer.stats.ahead.preparations
    assert 30 < asked < 60
    released.set()
    for packet in packets[:70]:  # the pause is one of the stream's time
        concealer.push(packet)
        _settle(concealer)
    assert concealer.describe()["prepared"]["state"] == "on"
    concealer.close()


def test_after_a_reset_it_is_as_new() -> None:
    concealer = Concealer(RATE, 1, PACKET, method="ar", prepare="always")
    first = _play(concealer, SIGNAL, TRACE)
    concealer.reset()
    assert concealer.stats.ahead.preparations == 0
    assert concealer.push(None).any() is np.False_  # nothing of the stream before is played
    _settle(concealer)
    concealer.reset()
    np.testing.assert_array_equal(_play(concealer, SIGNAL, TRACE), first)
    assert concealer.flush().size == 0
    np.testing.assert_array_equal(_play(concealer, SIGNAL, TRACE), first)
    concealer.close()


def test_a_closed_stream_goes_on_without_preparation() -> None:
    concealer = Concealer(RATE, 1, PACKET, method="ar", prepare="always", budget_ms=1000.0)
    concealer.close()
    concealer.close()
    assert _ahead(concealer)._preparer.over.wait(PATIENCE_S)
    found = _play(concealer, SIGNAL, TRACE)
    np.testing.assert_allclose(found, _unprepared(SIGNAL, TRACE), atol=1e-6)
    assert concealer.stats.ahead.concealed_unprepared == TRACE.sum()
    assert concealer.describe()["prepared"]["state"] == "closed"


def test_the_thread_ends_with_its_stream() -> None:
    concealer = Concealer(RATE, 1, PACKET, method="ar", prepare="always")
    preparer = _ahead(concealer)._preparer
    concealer.push(SIGNAL[:PACKET])
    del concealer
    gc.collect()
    assert preparer.over.wait(PATIENCE_S)


def test_the_statistics_and_the_description_say_what_was_ready() -> None:
    concealer = Concealer(RATE, 1, PACKET, method="ar", prepare="always")
    assert concealer.describe()["prepared"]["share"] is None
    _play(concealer, SIGNAL, TRACE)
    counters = concealer.stats.as_dict()
    assert counters["concealed_prepared"] == TRACE.sum()
    assert counters["concealed_stale"] == counters["concealed_unprepared"] == 0
    described = concealer.describe()
    assert described["prepared"]["share"] == 1.0
    assert described["prepared"]["cost_ms"] > 0.0
    assert described["fallback"].keys() == described["ladders"].keys()
    concealer.close()


def test_silence_is_not_prepared() -> None:
    concealer = Concealer(RATE, 1, PACKET, method="ar", prepare="always")
    packets = SIGNAL.reshape(-1, PACKET, 1)
    for packet in packets[:10]:
        concealer.push(packet)
    asked = concealer.stats.ahead.preparations
    assert asked == 10
    for _ in range(100):
        concealer.push(np.full((PACKET, 1), 5e-4, np.float32))
    behind = concealer.stats.ahead.preparations - asked
    assert 20 <= behind <= 26
    concealer.push(None)
    assert concealer.stats.ahead.concealed_unprepared == 1
    concealer.push(packets[0])
    assert concealer.stats.ahead.preparations == asked + behind + 1
    concealer.close()


def test_in_a_hurry_it_plays_what_is_ready() -> None:
    concealer = Concealer(RATE, 1, PACKET, method="ar", prepare="always")
    packets = SIGNAL.reshape(-1, PACKET, 1)
    for packet in packets[:20]:
        concealer.push(packet)
        _settle(concealer)
    concealer.hurry(1e-6)
    concealer.push(None)
    assert concealer.stats.ahead.concealed_prepared == 1
    top = _ahead(concealer).inner.names[0]
    assert concealer.stats.rung_samples[top] == PACKET
    concealer.close()


def test_a_gap_inside_a_packet_is_prepared_when_it_begins_where_there_are_networks() -> None:
    pytest.importorskip("onnxruntime")
    concealer = Concealer(RATE, 1, PACKET, prepare="always")
    packets = SIGNAL.reshape(-1, PACKET, 1)
    for packet in packets[:20]:
        concealer.push(packet)
        _settle(concealer)
    concealer.push(packets[20], missing=[(60, PACKET)])
    _settle(concealer)
    concealer.push(None)
    ahead = concealer.stats.ahead
    assert (ahead.concealed_prepared, ahead.concealed_unprepared) == (1, 1)
    concealer.close()


def test_memory_does_not_grow() -> None:
    concealer = Concealer(RATE, 1, PACKET, method="ar", prepare="always")
    trace = GilbertElliott(0.2, 2.0).trace(60, 1)
    _play(concealer, SIGNAL, trace)
    gc.collect()
    tracemalloc.start()
    try:
        _play(concealer, SIGNAL, trace)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            _play(concealer, SIGNAL, trace)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000
    assert _ahead(concealer)._preparer._wakes.qsize() <= 2
    concealer.close()


@pytest.mark.parametrize("prepare", ["sometimes", "", 1])
def test_an_unknown_setting_is_refused(prepare: Any) -> None:
    with pytest.raises(ConfigError, match="prepare"):
        Concealer(prepare=prepare)


@pytest.mark.parametrize(
    "settings", [{"prepare": "never"}, {"lookahead": 1}, {"budget_ms": math.inf}, {"method": "lpc"}]
)
def test_where_nothing_is_prepared_there_is_no_thread(settings: dict[str, Any]) -> None:
    threads = len(life.running)
    concealer = Concealer(RATE, 1, PACKET, **({"model": "ar"} | settings))
    assert not isinstance(concealer._filler, AheadFiller)
    assert len(life.running) == threads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_child_starts_a_thread_of_its_own() -> None:
    """In a process of its own: this one has threads that a fork would leave behind."""
    program = f"""
import os, sys, time, numpy as np, plc
from tests.signals import tones
signal = tones(3, {RATE}, 60 * {PACKET}).reshape(-1, {PACKET}, 1)
stream = plc.Concealer({RATE}, 1, {PACKET}, method="ar", prepare="always")
for packet in signal[:20]:
    stream.push(packet)
child = os.fork()
if child == 0:
    end = time.monotonic() + 60
    while stream.stats.ahead.concealed_prepared < 3 and time.monotonic() < end:
        stream.push(signal[20])
        time.sleep(0.01)
        stream.push(None)
    restarted = stream.stats.ahead.preparers_restarted
    stream.close()
    os._exit(0 if restarted == 1 and time.monotonic() < end else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), timeout=120, check=False
    )
    assert done.returncode == 0


def test_by_default_a_stream_prepares_where_a_network_conceals() -> None:
    with_network = Concealer(RATE, 1, PACKET)
    try:
        assert isinstance(with_network._filler, AheadFiller)
    finally:
        with_network.close()
    assert Concealer(RATE, 1, PACKET, model="ar")._filler is None


def test_what_is_not_prepared_has_the_network_that_answers_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A voice whose preparations never come sounds as without preparation."""
    monkeypatch.setattr(served, "OPENER", costing(2.0, 0.5))  # slow machines leave it out
    signal, rate = soundfile.read(Path(plc.__file__).parent / "data/speech.flac", dtype="float32")
    assert rate == RATE
    trace = GilbertElliott(0.1, 1.5).trace(200, 3)
    signal = signal.reshape(-1, 1)[: trace.size * PACKET]
    samples, error_db = {}, {}
    for prepare in ("auto", "never"):
        concealer = Concealer(RATE, 1, PACKET, prepare=prepare, budget_ms=1000.0)
        if prepare == "auto":
            _ahead(concealer)._preparer.end()
            assert _ahead(concealer)._preparer.over.wait(PATIENCE_S)
            _ahead(concealer)._keeper.restarts = 0
        played = _play(concealer, signal, trace, wait=False)
        samples[prepare] = concealer.stats.rung_samples["network:speech"]
        error_db[prepare] = nmse_db(played, signal, np.repeat(trace, PACKET)[:, None])
        concealer.close()
    assert samples["auto"] == samples["never"] > 0
    assert abs(error_db["auto"] - error_db["never"]) < 0.2
