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
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import plc
from plc import Concealer
from plc.engine.ahead import bursts as ahead
from plc.engine.ahead import pace as pace_module
from plc.engine.ahead.bursts import BurstsAhead, prepare_burst
from plc.engine.ahead.pace import PreparationPace
from plc.engine.loss import GilbertElliott
from plc.engine.stream.dependencies import Dependencies
from plc.errors import ConfigError
from plc_kernels.stream import layout
from tests.kernels.stream.test_networks import music, speech
from tests.processes import environment
from tests.signals import nmse_db, tones, voice

RATE = 16_000
PACKET = 160
PATIENCE_S = 60.0
Trace = NDArray[np.bool_]


def _ahead(concealer: Concealer) -> BurstsAhead:
    bursts = concealer._ahead
    assert bursts is not None
    return bursts


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


def _reasons(concealer: Concealer) -> dict[str, int]:
    """Return why packets were not prepared, and check that the totals are those of the reasons."""
    counts = asdict(concealer.stats.ahead)
    reasons = {name: n for name, n in counts.items() if n and name.startswith(("stale", "unprep"))}
    for kind in ("stale", "unprepared"):
        of_kind = [n for name, n in reasons.items() if name.startswith(kind)]
        assert counts[f"concealed_{kind}"] == sum(of_kind)
    return reasons


def _voice(seed: int, rate: int, samples: int) -> NDArray[np.float32]:
    return np.resize(voice(rate, samples / rate, 140.0, 0.3, seed), samples)


@pytest.mark.parametrize(
    ("rate", "packet", "channels", "method", "make"),
    [
        (48_000, 480, 1, "ar", tones),
        (48_000, 480, 1, "auto", tones),
        (48_000, 960, 2, "auto", tones),
        (16_000, 160, 1, "auto", _voice),
        (8_000, 160, 1, "auto", _voice),
        (16_000, 1600, 1, "auto", tones),
    ],
)
def test_with_time_it_plays_what_a_stream_without_a_limit_does(
    rate: int, packet: int, channels: int, method: str, make: Any
) -> None:
    packets = rate // packet + 30
    signal = make(7, rate, packets * packet).astype(np.float32)
    signal = np.ascontiguousarray(np.stack([signal, 0.5 * signal[::-1]][:channels], axis=1))
    trace = GilbertElliott(0.15, 2.0).trace(packets, 5)
    trace[-30:-5] |= packet < 1600
    _check_prepared(
        signal,
        trace,
        sample_rate=rate,
        channels=channels,
        packet_samples=packet,
        method=method,
    )


def test_music_behind_speech_that_lasted_is_concealed_as_without_a_limit() -> None:
    """While the speech lasted, nothing was listened to."""
    loop = music(48_000, 1)[:24_000]
    signal = np.concatenate([speech(48_000, 1)] * 4 + [loop] * 8)
    trace = np.zeros(len(signal) // 960, bool)
    trace[[30, 100, 480, -9, -2, -1]] = True
    _check_prepared(signal, trace, sample_rate=48_000, packet_samples=960)


def _check_prepared(signal: NDArray[np.float32], trace: Trace, **settings: Any) -> None:
    """Check that a stream that prepares plays what one without a time limit does."""
    unlimited = Concealer(**settings, budget_ms=math.inf)
    with closing(Concealer(**settings, prepare="always")) as prepared:
        expected = _play(unlimited, signal, trace, wait=False)
        found = _play(prepared, signal, trace)
    np.testing.assert_array_equal(found, expected)
    counted = prepared.stats.ahead
    assert counted.concealed_stale == 0
    assert counted.concealed_prepared > 0
    assert counted.concealed_unprepared <= 1  # before anything was received
    assert prepared.stats.rung_samples == unlimited.stats.rung_samples


def _stream(
    monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], **settings: Any
) -> Concealer:
    """Return a stream whose preparations begin with ``act``."""

    def watched(block: NDArray[np.int64], model: int) -> int:
        act()
        return prepare_burst(block, model)

    monkeypatch.setattr(Concealer, "dependencies", Dependencies(prepare=watched))
    given: dict[str, Any] = {"method": "ar", "prepare": "always"}
    return Concealer(RATE, 1, PACKET, **(given | settings))


def _unprepared(signal: NDArray[np.float32], trace: Trace) -> NDArray[Any]:
    """Return what a stream plays that prepares nothing and fits every rung."""
    concealer = Concealer(RATE, 1, PACKET, model="ar", prepare="never", budget_ms=1000.0)
    return _play(concealer, signal, trace, wait=False)


SIGNAL = tones(3, RATE, 60 * PACKET)
PACKETS = SIGNAL.reshape(-1, PACKET, 1)
TRACE = np.zeros(60, np.bool_)
TRACE[[20, 21, 22, 35, 50, 51]] = True


def _heard(packets: int, method: Any = "ar") -> Concealer:
    """Return a stream that received so many packets, and prepared after each."""
    concealer = Concealer(RATE, 1, PACKET, method=method, prepare="always")
    for packet in PACKETS[:packets]:
        concealer.push(packet)
        _settle(concealer)
    return concealer


def test_what_is_not_ready_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    concealer = _stream(monkeypatch, lambda: released.wait(PATIENCE_S), budget_ms=1000.0)
    try:
        found = _play(concealer, SIGNAL, TRACE, wait=False)
    finally:
        released.set()
        concealer.close()
    np.testing.assert_allclose(found, _unprepared(SIGNAL, TRACE), atol=1e-6)
    assert concealer.stats.ahead.concealed_prepared == 0
    assert sum(_reasons(concealer).values()) == concealer.stats.ahead.concealed_stale == TRACE.sum()


def test_what_comes_while_the_one_before_is_made_is_not_begun() -> None:
    concealer = _heard(19)
    with _ahead(concealer).second:
        concealer.push(PACKETS[19])
        concealer.push(None)
    concealer.push(PACKETS[21])
    _settle(concealer)
    concealer.push(None)
    assert _reasons(concealer) == {"stale_behind": 1}
    assert concealer.stats.ahead.concealed_prepared == 1
    concealer.close()


def test_a_preparation_that_raises_costs_no_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    def throw() -> None:
        raise RuntimeError("out of memory")

    concealer = _stream(monkeypatch, throw, budget_ms=1000.0)
    found = _play(concealer, SIGNAL, TRACE)
    np.testing.assert_allclose(found, _unprepared(SIGNAL, TRACE), atol=1e-6)
    assert concealer.stats.ahead.preparations_failed >= 40
    assert _reasons(concealer) == {"stale_unready": TRACE.sum()}
    assert concealer.describe()["prepared"]["error"] == "out of memory"
    concealer.close()


def test_a_thread_that_ends_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [True]

    def die_once() -> None:
        if ends and ends.pop():
            raise SystemExit

    concealer = _stream(monkeypatch, die_once, budget_ms=1000.0)
    concealer.push(SIGNAL[:PACKET])
    end_s = time.monotonic() + PATIENCE_S
    preparer = ahead._preparer
    assert preparer is not None
    while ends or not preparer.over.is_set():
        assert time.monotonic() < end_s
        time.sleep(1e-3)
    found = _play(concealer, SIGNAL, TRACE)
    assert concealer.stats.ahead.concealed_prepared == TRACE.sum()
    assert np.isfinite(found).all()
    concealer.close()


def test_a_stream_that_is_forgotten_at_the_last_moment_is_passed_over() -> None:
    assert ahead._Preparer()._next() is None  # closed between the look for one and the choice


def test_too_late_steps_down_and_calm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    concealer = _stream(monkeypatch, lambda: gate.wait(PATIENCE_S), prepare="auto", method="auto")
    pace = _ahead(concealer)._pace
    pace._top_ms = 1.0
    packets = np.resize(SIGNAL, (400, PACKET, 1))
    monkeypatch.setattr(pace_module, "_STALL_MS", 0.0)
    for packet in packets[:20]:
        concealer.push(packet)
    assert pace.depth > 0
    assert pace.most_ms < 1.0
    gate.set()
    for packet in packets:
        concealer.push(packet)
        _settle(concealer)
    assert pace.depth < 3
    concealer.close()


def test_streams_that_lose_more_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    held, gate = threading.Event(), threading.Event()
    order: list[int] = []
    noting = threading.Event()

    def watched(block: NDArray[np.int64], model: int) -> int:
        if noting.is_set():
            order.append(next(k for k, each in enumerate(streams) if each._block is block))
            held.set()
            gate.wait(PATIENCE_S)
        return prepare_burst(block, model)

    monkeypatch.setattr(Concealer, "dependencies", Dependencies(prepare=watched))
    streams = [Concealer(RATE, 1, PACKET, method="ar", prepare="always") for _ in range(4)]
    for lossy in (1, 3):
        for k in range(lossy):
            streams[lossy].push(SIGNAL[:PACKET])
            _settle(streams[lossy])
            streams[lossy].push(None if k < lossy else SIGNAL[:PACKET])
    noting.set()
    streams[0].push(SIGNAL[:PACKET])
    assert held.wait(PATIENCE_S)
    for each in streams[1:]:
        each.push(SIGNAL[:PACKET])
    gate.set()
    for each in streams:
        _settle(each)
        each.close()
    assert order == [0, 3, 1, 2]


def test_a_stream_faster_than_its_time_pauses_preparing(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    concealer = _stream(
        monkeypatch, lambda: released.wait(PATIENCE_S), prepare="auto", method="auto"
    )
    monkeypatch.setattr(pace_module, "_STALL_MS", 0.0)
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


def test_a_stall_is_not_judged_and_what_is_faster_all_the_time_is() -> None:
    pace = PreparationPace(True, 10.0, 4.0)
    for had_ms in 3 * [10.0, *199 * [1.0]]:
        pace.follow(had_ms == 10.0, had_ms)
    assert (pace.depth, pace.pause_ms > 0.0) == (0, False)
    for _ in range(60):
        pace.follow(False, 1.0)
    assert (pace.depth, pace.pause_ms > 0.0) == (5, True)
    pace.reset()
    for _ in range(60):
        pace.follow(False, 9.0)
    assert (pace.depth, pace.pause_ms > 0.0) == (5, True)


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
    found = _play(concealer, SIGNAL, TRACE)
    np.testing.assert_allclose(found, _unprepared(SIGNAL, TRACE), atol=1e-6)
    assert _reasons(concealer) == {"unprepared_paused": TRACE.sum()}
    assert concealer.describe()["prepared"]["state"] == "closed"


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
    concealer = _heard(10)
    asked = concealer.stats.ahead.preparations
    assert asked == 10
    for _ in range(100):
        concealer.push(np.full((PACKET, 1), 5e-4, np.float32))
        _settle(concealer)
    behind = concealer.stats.ahead.preparations - asked
    assert 20 <= behind <= 26
    concealer.push(None)
    assert _reasons(concealer) == {"unprepared_silent": 1}
    numbers = concealer._memory.numbers
    assert numbers[layout.BURST_MS] == 0.2
    top = concealer.describe()["ladders"]["steady"][0]
    assert not concealer.stats.rung_samples.get(top["rung"], 0)
    concealer.push(PACKETS[0])
    assert numbers[layout.LIMIT_MS] == concealer.config.time_limit_ms
    assert concealer.stats.ahead.preparations == asked + behind + 1
    concealer.close()


def test_in_a_hurry_it_plays_what_is_ready() -> None:
    concealer = _heard(20)
    concealer.hurry(1e-6)
    concealer.push(None)
    assert concealer.stats.ahead.concealed_prepared == 1
    top = concealer.describe()["ladders"]["steady"][0]["rung"]
    assert concealer.stats.rung_samples[top] == PACKET
    concealer.close()


def test_a_gap_that_begins_inside_a_packet_is_not_prepared() -> None:
    concealer = _heard(20, method="auto")
    concealer.push(PACKETS[20], missing=[(60, PACKET)])
    _settle(concealer)
    concealer.push(None)
    assert concealer.stats.ahead.concealed_prepared == 0
    assert _reasons(concealer) == {"unprepared_inside": 2}
    concealer.close()


def test_what_was_made_of_other_inputs_is_counted_once_for_each_packet() -> None:
    concealer = _heard(20)
    concealer._block[layout.EPOCH] += 1
    for _ in range(3):
        concealer.push(None)
    assert _reasons(concealer) == {"stale_changed": 3}
    concealer.reset()
    concealer.push(None)
    assert _reasons(concealer) == {"unprepared_silent": 1}
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
    assert ahead._preparer is not None
    assert ahead._preparer._wakes.qsize() <= 2
    concealer.close()


@pytest.mark.parametrize("prepare", ["sometimes", "", 1])
def test_an_unknown_setting_is_refused(prepare: Any) -> None:
    with pytest.raises(ConfigError, match="prepare"):
        Concealer(prepare=prepare)


@pytest.mark.parametrize(
    "settings",
    [{"prepare": "never"}, {"lookahead": 1}, {"budget_ms": math.inf}, {"method": "burg"}],
)
def test_where_it_makes_no_sense_nothing_is_prepared(settings: dict[str, Any]) -> None:
    concealer = Concealer(RATE, 1, PACKET, **({"model": "ar"} | settings))
    assert concealer._ahead is None
    assert "prepared" not in concealer.describe()


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
    with Concealer(RATE, 1, PACKET) as with_network:
        assert with_network._ahead is not None
    assert Concealer(RATE, 1, PACKET, model="ar")._ahead is None


def test_what_is_not_prepared_has_the_network_that_answers_at_once() -> None:
    """A voice whose preparations never come sounds as without preparation."""
    signal, rate = soundfile.read(Path(plc.__file__).parent / "data/speech.flac", dtype="float32")
    assert rate == RATE
    trace = GilbertElliott(0.1, 1.5).trace(200, 3)
    signal = signal.reshape(-1, 1)[: trace.size * PACKET]
    samples, error_db = {}, {}
    for prepare in ("auto", "never"):
        concealer = Concealer(RATE, 1, PACKET, prepare=prepare, budget_ms=1000.0)
        if prepare == "auto":
            _ahead(concealer).second.enter()  # the preparation before is never done
        played = _play(concealer, signal, trace, wait=False)
        samples[prepare] = concealer.stats.rung_samples["network:speech"]
        error_db[prepare] = nmse_db(played, signal, np.repeat(trace, PACKET)[:, None])
        concealer.close()
    assert samples["auto"] == samples["never"] > 0
    assert abs(error_db["auto"] - error_db["never"]) < 0.2


@pytest.mark.parametrize("method", ["ar", "auto"])
def test_without_a_network_a_provider_changes_nothing(method: str) -> None:
    settings: dict[str, Any] = {"method": method, "model": "ar", "provider": "cpu"}
    with Concealer(RATE, 1, PACKET, prepare="always", **settings) as concealer:
        assert concealer._ahead is not None


def test_an_interrupt_while_a_thread_is_woken_puts_no_stream_off_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal's exception may come before the wake: the next packet's wakes the thread."""
    concealer = Concealer(RATE, 1, PACKET, model="ar", prepare="always")
    signal = tones(5, RATE, 40 * PACKET)
    with closing(concealer):
        _play(concealer, signal, np.zeros(40, np.bool_))
        preparer = ahead._running()
        assert preparer is not None
        end_s = time.monotonic() + PATIENCE_S
        while not preparer._waiting:
            assert time.monotonic() < end_s
            time.sleep(1e-4)

        class Interrupted:
            """Is interrupted where a thread would be woken."""

            def empty(self) -> bool:
                return True

            def put(self, _: None) -> None:
                raise KeyboardInterrupt

        wakes = preparer._wakes
        monkeypatch.setattr(preparer, "_wakes", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            concealer.push(signal[:PACKET, np.newaxis])
        monkeypatch.setattr(preparer, "_wakes", wakes)
        concealer.push(signal[PACKET : 2 * PACKET, np.newaxis])
        _settle(concealer)
