"""Many streams with a network are what they are one by one."""

import math
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc import Concealer, ConcealerPool, conceal
from plc.engine.loss import GilbertElliott
from plc.engine.many import pool_format
from plc.engine.models.catalogue import find
from plc.engine.models.manifest import Manifest
from plc.engine.networks import flat
from plc.engine.stream.dependencies import Dependencies
from plc.engine.stream.stats import Stats
from plc.errors import ConfigError, ModelError
from plc.files.distances import lsd_db
from plc_kernels.stream import networks
from tests.examples import examples, some
from tests.kernels.stream.test_networks import speech
from tests.signals import tones


def packets_of(rate: int, channels: int, packet: int, streams: int, dtype: type) -> NDArray[Any]:
    """Return speech from another place for each stream, (ticks, streams, packet, channels)."""
    signal = speech(rate, channels)
    ticks = len(signal) // packet
    rows = [np.roll(signal[: ticks * packet], -k * 7919, axis=0) for k in range(streams)]
    whole = np.stack(rows).reshape(streams, ticks, packet, channels).transpose(1, 0, 2, 3)
    scaled = np.rint(32_767 * whole) if dtype is np.int16 else whole
    return np.ascontiguousarray(scaled.astype(dtype))


@examples(30, few=3)
@given(
    rate=st.sampled_from([8000, 16_000, 48_000]),
    channels=st.integers(1, 2),
    packet_ms=st.sampled_from([2.5, 10, 20]),
    lookahead=st.integers(0, 1),
    dtype=st.sampled_from([np.float32, np.int16]),
    threads=st.integers(1, 2),
    loss=st.floats(0.05, 0.5),
    seed=st.integers(0, 1000),
)
def test_each_stream_plays_what_it_plays_alone(
    rate: int,
    channels: int,
    packet_ms: float,
    lookahead: int,
    dtype: type,
    threads: int,
    loss: float,
    seed: int,
) -> None:
    n, streams = round(rate * packet_ms / 1000), 3
    packets = packets_of(rate, channels, n, streams, dtype)[: round(600 / packet_ms)]
    rng = np.random.default_rng(seed)
    arrived = rng.random(packets.shape[:2]) >= loss
    arrived[0] = True  # an int16 stream is one from its first packet on
    joins = {int(rng.integers(1, len(packets))): int(rng.integers(0, streams)) for _ in range(2)}
    group = ConcealerPool(threads)
    ids = group.open(
        streams,
        sample_rate=rate,
        channels=channels,
        packet_samples=n,
        lookahead=lookahead,
        method="auto",
        seed=seed,
    )
    alone = [
        Concealer(rate, channels, n, lookahead, budget_ms=math.inf, prepare="never", seed=seed + k)
        for k in range(streams)
    ]
    for tick, (given_packets, there) in enumerate(zip(packets, arrived, strict=True)):
        if tick in joins:
            group.reset(ids[[joins[tick]]])
            alone[joins[tick]].reset()
        played = group.push(ids, given_packets, there)
        for k, one in enumerate(alone):
            expected = one.push(given_packets[k] if there[k] else None)
            np.testing.assert_array_equal(played[k], expected, err_msg=f"{tick} {k}")
    for stats, one in zip(group.stats(ids), alone, strict=True):
        assert stats.rung_samples == one.stats.rung_samples
        assert stats.concealed_samples == one.stats.concealed_samples
    group.close()


@pytest.mark.parametrize("lookahead", [0, 1])
def test_music_has_its_networks_as_alone(lookahead: int) -> None:
    packets = tones(1, 48_000, 100 * 480).reshape(100, 1, 480, 1)
    pool = ConcealerPool()
    ids = pool.open(1, lookahead=lookahead, method="auto")
    alone = Concealer(lookahead=lookahead, budget_ms=math.inf, prepare="never")
    lost = np.random.default_rng(2).random(len(packets)) < 0.2
    for packet, gone in zip(packets, lost, strict=True):
        expected = alone.push(None if gone else packet[0])
        np.testing.assert_array_equal(pool.push(ids, packet, ~gone[None])[0], expected)
    (stats,) = pool.stats(ids)
    assert stats.rung_samples == alone.stats.rung_samples
    assert "network:music" in stats.rung_samples


@pytest.mark.parametrize(("packet_ms", "lost_ms"), [(20, 20), (40, 40), (60, 60), (12.5, 25)])
def test_a_burst_of_music_sounds_the_same_however_it_is_cut(
    packet_ms: float, lost_ms: float
) -> None:
    """Its network serves it from the 10th ms on, in the first packet, too."""
    path = str(files("plc") / "data" / "music.flac")
    signal, rate = soundfile.read(path, dtype="float32", frames=6 * 48_000, always_2d=True)
    mono = np.ascontiguousarray(signal[:, :1])
    heard = {}
    for ms in (packet_ms, 2.5):
        size = round(ms * rate / 1000)
        starts = np.arange(len(mono) // size) * ms
        lost = (starts % 600 >= 600 - lost_ms) & (starts > 1000)
        stream = Concealer(
            rate, packet_samples=size, content="music", budget_ms=math.inf, prepare="never"
        )
        packets = mono[: starts.size * size].reshape(-1, size, 1)
        played = [
            stream.push(None if gone else packet)
            for packet, gone in zip(packets, lost, strict=True)
        ]
        heard[ms] = np.concatenate(played)
        assert stream.stats.network.network_done == stream.stats.concealment_events > 5
    shared = min(map(len, heard.values()))
    np.testing.assert_array_equal(heard[packet_ms][:shared], heard[2.5][:shared])


def counters(**settings: Any) -> Stats:
    """Return those of a stream of a pool, which is dropped."""
    pool = ConcealerPool()
    return pool.stats(pool.open(1, **settings))[0]


@pytest.mark.parametrize(
    ("rate", "method", "model", "network"),
    [
        (48_000, "server", "auto", "network:speech"),
        (8_000, "auto", "auto", "network:speech-narrowband"),
        (48_000, "server", "ar", None),
        (48_000, "ar", "auto", None),
        (48_000, "burg:5/30", "auto", None),
        (96_000, "server", "auto", "network:speech"),
        (192_000, "server", "auto", None),
    ],
)
def test_speech_has_the_network_for_its_rate(
    rate: int, method: str, model: str, network: str | None
) -> None:
    stats = counters(sample_rate=rate, method=method, model=model)
    named = [name for name in stats.rungs if name.startswith("network:")]
    assert [name for name in named if "bridge" not in name] == [network] * bool(network)


def test_a_network_that_cannot_be_read_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(manifest: Manifest, outside_at: int) -> None:
        raise ModelError(f"{manifest.name} is cut short")

    monkeypatch.setattr(flat, "shared_models", broken)
    with caplog.at_level("INFO", "plc"):
        stats = counters()
    assert "the network speech is left out: speech is cut short" in caplog.text
    assert set(stats.rungs) == {"ar:4/20", "ar:2.5/15", "noise"}


def test_a_model_is_one_for_all_streams_and_written_by_none() -> None:
    model = flat.shared_models(find("speech"))
    assert model is not None
    assert model is flat.shared_models(find("speech"))
    assert model.address % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        model.words[0] = 1
    with pytest.raises(ModelError, match="a stream makes contour, ar_contour"):
        flat.shared_models(find("music-inpaint"))


def test_rungs_for_servers_have_a_network_where_it_answers_in_time() -> None:
    short, long = counters(packet_ms=4.9), counters(packet_ms=5.0)
    best = counters(packet_ms=4.9, method="auto")
    assert short.rungs == ("ar:4/20", "ar:2.5/15", "noise")
    assert long.rungs == ("ar:4/20", "ar:15/30", "noise", "network:speech")
    assert "network:speech" in best.rungs


@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_prepared_is_what_is_played(threads: int) -> None:
    packets = packets_of(16_000, 1, 320, 4, np.float32)
    arrived = np.random.default_rng(6).random(packets.shape[:2]) > 0.2
    group, plain = ConcealerPool(threads), ConcealerPool()
    ids = group.open(4, sample_rate=16_000, packet_samples=320)
    np.testing.assert_array_equal(plain.open(4, sample_rate=16_000, packet_samples=320), ids)
    others = group.open(2, sample_rate=16_000, packet_samples=320, model="ar")
    for tick, (given_packets, there) in enumerate(zip(packets, arrived, strict=True)):
        expected = plain.push(ids, given_packets, there)
        np.testing.assert_array_equal(group.push(ids, given_packets, there), expected)
        group.push(others, given_packets[:2], there[:2])
        if tick % 3:
            group.prepare(math.inf)
            assert group.prepare(math.inf) == 0
        if tick == 60:
            for each in (group, plain):
                each.reset(ids[1:2])
    played = sum(stats.ahead.concealed_prepared for stats in group.stats(ids))
    assert 10 < played < sum(stats.ahead.preparations for stats in group.stats(ids))
    for each, not_prepared in ((group, others), (plain, ids)):
        assert sum(stats.ahead.preparations for stats in each.stats(not_prepared)) == 0
    group.close()


class Work:
    """A clock that preparations alone move on, by a millisecond each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.prepared: list[int] = []
        monkeypatch.setattr(pool_format, "look", lambda *_: True)
        monkeypatch.setattr(pool_format, "fill_part", self.fill_part)
        depends = Dependencies(clock=lambda: self.now_s, cpu_clock=lambda: lambda: self.now_s)
        monkeypatch.setattr(ConcealerPool, "dependencies", depends)

    def fill_part(self, block: NDArray[np.int64], address: int, flags: int) -> int:
        if flags != networks.PREPARES:
            return int(networks.fill_part(block, address, flags))
        self.prepared.append(int(block[0]))
        self.now_s += 1e-3
        return -1


def spoken_to(streams: int) -> ConcealerPool:
    """Return streams of speech a second long, of which the last lost packets.

    The rate, which nothing looks at any more, numbers them.
    """
    group = ConcealerPool()
    ids = group.open(streams, sample_rate=16_000, packet_samples=320)
    signal = speech(16_000, 1)[:16_000].reshape(50, 320, 1)
    there = np.ones(streams, bool)
    for tick, packet in enumerate(signal):
        there[-1] = tick % 5 > 0
        group.push(ids, np.stack([packet] * streams), there)
    for run in group._shelves.runs(group._shelves.find(ids)):
        run.rows[:, 0] = range(streams)
    return group


def test_streams_that_lose_packets_come_first_the_others_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = Work(monkeypatch)
    group = spoken_to(5)
    for _ in range(4):
        first = len(work.prepared)
        assert group.prepare(2.9) > 1
        assert work.prepared[first] == 4
    others = [k for k in work.prepared if k != 4]
    assert others[:4] == [0, 1, 2, 3]
    assert sorted(set(others)) == [0, 1, 2, 3]


@pytest.mark.parametrize(("budget_ms", "least", "most"), [(0.0, 0, 0), (3.1, 3, 4), (1e9, 5, 5)])
def test_no_more_is_begun_than_there_is_time_for(
    monkeypatch: pytest.MonkeyPatch, budget_ms: float, least: int, most: int
) -> None:
    work = Work(monkeypatch)
    group = spoken_to(5)
    assert least <= group.prepare(budget_ms) <= most
    assert work.now_s * 1e3 <= budget_ms + 1.0


def test_music_silence_and_lookahead_need_no_preparation() -> None:
    ticks = 50
    chord = tones(1, 16_000, ticks * 320).reshape(ticks, 320, 1)
    group = ConcealerPool()
    steady = group.open(2, sample_rate=16_000, packet_samples=320)
    delayed = group.open(1, sample_rate=16_000, packet_samples=320, lookahead=1)
    alone = group.open(1, sample_rate=16_000, packet_samples=320, model="ar")
    spoken = speech(16_000, 1)[:16_000].reshape(ticks, 1, 320, 1)
    for packet, words in zip(chord, spoken, strict=True):
        group.push(steady, np.stack([packet, 0 * packet]), np.ones(2, bool))
        for ids in (delayed, alone):
            group.push(ids, words, np.ones(1, bool))
    assert group.prepare(math.inf) == 0
    with pytest.raises(ConfigError, match="budget_ms is -1; give a time of 0 ms or more"):
        group.prepare(-1)


@some("rate", [8_000, 16_000, 48_000, 11_025, 12_000, 15_999, 22_050, 44_100, 96_000], 3)
@pytest.mark.parametrize("filtered", [True, False])
def test_at_every_rate_the_packages_networks_improve_on_the_draft(
    rate: int, filtered: bool
) -> None:
    """Also where nothing kept what lies at half the rate from being heard."""
    soxr = pytest.importorskip("soxr")
    path = str(files("plc") / "data" / "speech.flac")
    clip, clip_rate = soundfile.read(path, dtype="float32")
    signal = soxr.resample(clip, clip_rate, rate)
    if not filtered:
        signal = soxr.resample(clip, clip_rate, 2 * rate)[::2]
    packet = rate // 50
    signal = signal[: signal.size // packet * packet].copy()
    trace = GilbertElliott(0.15, 2.0).trace(signal.size // packet, 4)
    lost = np.repeat(trace, packet)
    distance, level = {}, {}
    for model in ("ar", "auto"):
        played = conceal(signal, trace, sample_rate=rate, packet_samples=packet, model=model)
        distance[model] = lsd_db(signal, played.astype(np.float32), lost, rate)
        power = np.sum(played[lost] ** 2) / np.sum(signal[lost] ** 2)
        level[model] = 10.0 * np.log10(power)
    assert distance["auto"] < 0.97 * distance["ar"]
    assert level["ar"] < level["auto"] < 0.0
