import ctypes.util
import dataclasses
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plc.engine.ahead.pace import PreparationCounters
from plc.errors import ConfigError
from plc_bench.base.synth import music
from plc_bench.base.tables import Table, write_json
from plc_bench.base.workers import Failure
from plc_bench.peers import opus
from plc_bench.peers.base import PeerError
from plc_bench.timing import latency as bench
from plc_bench.timing.latency import LatencyReport, LatencySettings, Run, Sample
from plc_bench.timing.latency_compare import compare, ratio_interval, read_report
from plc_bench.timing.latency_tables import histogram_table, latency_lines, latency_tables
from plc_bench.timing.measure import Disturbances, cut

SETTINGS = LatencySettings(sample_rate=8000, seconds=0.4, loss=0.2, method="ar")


def made_sample(scale: float, settings: LatencySettings, mode: str) -> Sample:
    """Return a sample whose lost packets take 1 to 2 ms times ``scale``."""
    count = settings.packets
    rng = np.random.default_rng(count)
    kinds = {
        "good": scale * (0.1 + 0.1 * rng.random(count)),
        "concealed": scale * (1.0 + rng.random(count)),
        "null_loop": 0.001 * (1.0 + rng.random(count)),
    }
    if mode != bench.BACK_TO_BACK:
        kinds |= {"answer": 0.1 + kinds["concealed"], "null_answer": 0.1 + kinds["null_loop"]}
    prepared = asdict(PreparationCounters(9, 3, 2, 1, 0, 1, 1, preparations=70))
    counts = {"deadline_misses": 1, "null_misses": 0, "rungs": {"ar:1/8": 80}, "network_late": 0}
    names = ("faster_than_real_time", "cpu_share", "construction_ms", "first_push_ms")
    figures = dict(zip(names, (50.0, 1.0, 600.0, 0.2), strict=True))
    return Sample(kinds, {**counts, "prepared": prepared}, figures, "", Disturbances())


def made_report(*scales: float, settings: LatencySettings | None = None) -> LatencyReport:
    """Return a report of as many runs as there are scales."""
    settings = settings or LatencySettings(method="ar", seconds=20.0)
    left = iter(scales)

    def attempt(_: Run, one: LatencySettings, __: str) -> dict[str, Sample] | Failure:
        scale = next(left)
        return {mode: made_sample(scale, one, mode) for mode in one.modes}

    return bench.measure([settings], len(scales), attempt=attempt)


@pytest.fixture(scope="module")
def real() -> LatencyReport:
    """Two runs of the engine, in this process, with a clock that nobody waits for."""
    now_ns = 0

    def clock() -> int:
        nonlocal now_ns
        now_ns += 1000
        return now_ns

    def sleep(seconds: float) -> None:
        nonlocal now_ns
        now_ns += round(1e9 * seconds)

    def attempt(_: Run, settings: LatencySettings, __: str) -> dict[str, Sample] | Failure:
        return bench.run(settings, clock, sleep)

    return bench.measure([SETTINGS], 2, attempt=attempt)


def test_each_mode_times_received_and_lost_packets_apart(real: LatencyReport) -> None:
    assert [row.mode for row in real.rows] == list(bench.MODES)
    for row in real.rows:
        lost = int(SETTINGS.trace().sum())
        assert 0 < lost < 40
        assert row.pushes == 80
        assert row.times["concealed"].count == 2 * lost
        assert row.times["good"].count == 80 - 2 * lost
        assert row.times["null_loop"].count == 80
        assert sum(row.rungs.values()) > 0
        assert row.disturbances.collections == [0, 0, 0]
        for kind, each in row.histograms.items():
            assert sum(one.total for one in each) == row.times[kind].count
            assert len(each) == 2
    assert real.rows[0].faster_than_real_time > 0.0
    assert "answer" not in real.rows[0].times
    assert real.rows[1].times["answer"].count == real.rows[1].times["concealed"].count


@pytest.mark.parametrize(
    ("least", "change", "why"),
    [
        ((1, 0), {}, ""),
        ((99, 5), {}, " is older than 99.5"),
        ((1, 0), {"sample_rate": 44_100}, " has no frames of 441 samples, 1 channels"),
        ((1, 0), {"packet_ms": 30.0}, " has no frames of 240 samples, 1 channels"),
    ],
)
def test_libopus_decodes_a_streams_packets(
    monkeypatch: pytest.MonkeyPatch, least: tuple[int, int], change: dict[str, Any], why: str
) -> None:
    if ctypes.util.find_library("opus") is None:
        pytest.skip("libopus is not installed")
    monkeypatch.setattr(opus, "_LEAST", least)
    settings = dataclasses.replace(SETTINGS, **change)
    packets = cut(music(settings.sample_rate, 0.3), settings.packet_samples)
    decode, name = opus.timed_decoder(packets, settings.sample_rate, 0.1)
    assert name.startswith("libopus ")
    assert name.endswith(why)
    assert (decode is None) == bool(why)
    if decode:
        for k in range(2 * len(packets)):
            played = decode(k, False)
        concealed = decode(0, True)
        assert played is not None
        assert concealed is not None
        assert np.abs(played).max() > 0.01
        assert concealed.shape == (80, 1)


def test_without_libopus_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: str) -> None:
        raise PeerError("libopus is not installed: apt-get install libopus0")

    monkeypatch.setattr(opus, "load", load)
    why = "libopus is not installed: apt-get install libopus0"
    assert opus.timed_decoder([np.zeros((80, 1), np.float32)], 8000, 0.1) == (None, why)


def test_only_a_cold_stream_has_a_peer() -> None:
    def opened(packets: bench.Packets, *_: float) -> tuple[Callable[[int, bool], None], str]:
        return lambda turn, lost: asked.append(lost), "a peer"

    asked: list[bool] = []
    samples = bench.run(SETTINGS, sleep=lambda _: None, open_peer=opened)
    assert [sample.peer for sample in samples.values()] == ["", "", "a peer"]
    assert asked == SETTINGS.trace().tolist()
    row = bench.summarise(SETTINGS, bench.COLD, [samples[bench.COLD]])
    assert "a peer" in latency_lines(row)
    assert row.times["peer_concealed"].count == sum(asked) == 40 - row.times["peer_good"].count


def test_a_machine_that_sleeps_too_long_is_blamed_by_the_null_loop() -> None:
    now_ns = 0

    def clock() -> int:
        nonlocal now_ns
        now_ns += 1000
        return now_ns

    def oversleep(seconds: float) -> None:
        nonlocal now_ns
        now_ns += round(1e9 * seconds) + 15_000_000

    settings = dataclasses.replace(SETTINGS, modes=(bench.STEADY,), method="burg")
    sample = bench.run(settings, clock, oversleep)[bench.STEADY]
    # Two turns come while it sleeps; the first of them is late by more than a packet.
    counts = sample.counts
    assert counts["deadline_misses"] == counts["null_misses"] == settings.packets // 2


def test_a_short_file_is_pushed_over_and_over(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    short = tmp_path / "short.wav"
    soundfile.write(short, music(8000, 0.005), 8000)
    settings = dataclasses.replace(SETTINGS, clips=(short,), modes=(bench.BACK_TO_BACK,))
    assert sum(bench.run(settings)[bench.BACK_TO_BACK].counts["rungs"].values()) > 0


def test_a_combination_that_fails_is_named_and_the_others_go_on() -> None:
    good, bad = SETTINGS, dataclasses.replace(SETTINGS, sample_rate=11)
    tried: list[int] = []

    def attempt(_: Run, settings: LatencySettings, name: str) -> dict[str, Sample] | Failure:
        tried.append(settings.sample_rate)
        if settings is bad:
            return Failure(name, "sample_rate is 11")
        return {mode: made_sample(1.0, settings, mode) for mode in settings.modes}

    waited: list[float] = []
    report = bench.measure([bad, good], 2, waited.append, attempt)
    assert tried == [11, 8000, 8000]
    assert [failure.reason for failure in report.failures] == ["sample_rate is 11"]
    assert {row.settings for row in report.rows} == {good}
    assert len(waited) == 4


def test_a_grid_has_every_combination() -> None:
    combined = bench.grid(SETTINGS, channels=[1, 2, 1], method=["ar", "auto"])
    assert [(one.channels, one.method) for one in combined] == [
        (channels, method) for channels in (1, 2) for method in ("ar", "auto")
    ]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"modes": ("sometimes",)}, "mode is 'sometimes'; known: back-to-back, steady"),
        ({"modes": ()}, "known: back-to-back"),
        ({"seconds": 0.0}, "seconds is 0.0; give a time above 0"),
        ({"packet_ms": math.nan}, "packet_ms is nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        dataclasses.replace(SETTINGS, **change)


@pytest.mark.parametrize(("seen", "most"), [(0, 2.9957), (1, 4.7439), (10, 16.9622)])
def test_a_bound_on_a_count_is_that_of_the_poisson_distribution(seen: int, most: float) -> None:
    # Garwood's upper limits, half the 95 % quantile of chi-squared with 2 (seen + 1) degrees.
    assert bench.most_events(seen) == pytest.approx(most, abs=1e-4)


def test_the_tables_say_what_was_missed_and_what_disturbed() -> None:
    report = made_report(1.0, 1.1)
    assert len([one for one in latency_tables(report) if not isinstance(one, str)]) == 6
    lines = latency_lines(report.rows[0])
    assert lines[0].startswith("2 of 4000 packets took longer than they last: 500 per million")
    assert "50 times faster" in lines[1]
    assert lines[-1].startswith("meanwhile: 0 garbage collections, +0 Python blocks")
    assert latency_lines(report.rows[1])[0].startswith(
        "2 of 4000 packets came a packet or more late"
    )
    assert latency_lines(report.rows[1])[1:3] == [
        "made by ar:1/8 100%",
        "18 of 26 concealments prepared; stale: 4 unready, 2 behind; not asked for: 2 silent",
    ]


def test_the_histogram_counts_every_push_of_all_runs_at_its_time() -> None:
    times_ms = {"good": [0.011, 0.0152, 0.02], "concealed": [1.02, 0.0155, 1.55, 2.0]}
    sample = dataclasses.replace(
        made_sample(1.0, SETTINGS, bench.STEADY),
        times_ms={kind: np.array(each) for kind, each in times_ms.items()},
    )
    table = histogram_table(bench.summarise(SETTINGS, bench.STEADY, [sample] * 2))
    assert list(table.headings) == ["from µs", "received", "", "lost", ""]
    found = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    lines = ["10", "15.8", "25.1", "39.8", "63.1", "100", "158", "251", "398", "631", "1000"]
    assert list(found) == [*lines, "1580"]
    full = 16 * "█"
    assert found["10"] == ["4", full, "2", full[:8]]
    assert found["15.8"] == ["2", full[:8], "0", ""]
    assert found["100"] == ["0", "", "0", ""]
    assert found["1000"] == ["0", "", "4", full]
    assert found["1580"] == ["0", "", "2", full[:8]]


def test_the_histogram_of_a_stream_without_losses_has_received_packets_alone() -> None:
    sample = made_sample(1.0, SETTINGS, bench.COLD)
    del sample.times_ms["concealed"]
    table = histogram_table(bench.summarise(SETTINGS, bench.COLD, [sample]))
    assert list(table.headings) == ["from µs", "received", ""]
    assert sum(int(row[1].text) for row in table.rows) == SETTINGS.packets


def test_many_combinations_have_a_row_for_each_mode() -> None:
    reports = [made_report(1.0, settings=LatencySettings(channels=c)) for c in (1, 2)]
    both = dataclasses.replace(reports[0], rows=[*reports[0].rows, *reports[1].rows])
    table, machine = latency_tables(both)
    assert not isinstance(table, str)
    assert len(table.rows) == 6
    assert machine == f"on {both.machine['cpu']}, {both.machine['cores']} cores"


def written(folder: Path, report: LatencyReport) -> Path:
    write_json(folder / "latency.json", report)
    return folder / "latency.json"


def test_runs_that_are_all_slower_are_significantly_so(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    old = read_report(written(tmp_path, made_report(1.0, 1.02, 0.99)))
    for scales, said in (
        ((1.3, 1.32, 1.29), "slower"),
        ((0.98, 1.03, 1.01), "no significant difference"),
        ((9.0,), "one run says nothing about the next"),
    ):
        tables = compare("old", old, made_report(*scales))
        assert len(tables) == 3
        for table in tables:
            assert isinstance(table, Table)
            lost = [row for row in table.rows if row[0].text == "lost"]
            assert [row[1].text for row in lost] == ["p50", "p99"]
            assert {row[-1].text for row in lost} == {said}
            assert {bool(row[-1].style) for row in lost} == {said == "slower"}


def test_rows_that_were_not_there_and_another_machine_are_noted(tmp_path: Path) -> None:
    old = read_report(written(tmp_path, made_report(1.0, 1.0)))
    old["machine"]["cpu"] = "Abacus"
    other = made_report(1.0, 1.0, settings=LatencySettings(channels=2, seconds=20.0))
    notes = [str(note) for note in compare("old.json", old, other)]
    assert notes[0].startswith("the cpu was Abacus, is ")
    assert sum(note.startswith("not in old.json: ") for note in notes) == 3


def test_an_interval_is_welchs() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    for runs in ((5, 7), (2, 2), (3, 9)):
        before, after = (np.exp(rng.normal(0.0, 0.1, size)) for size in runs)
        x, y = np.log(before), np.log(after)
        u, v = x.var(ddof=1) / x.size, y.var(ddof=1) / y.size
        freedom = (u + v) ** 2 / (u**2 / (x.size - 1) + v**2 / (y.size - 1))
        half = stats.t.ppf(0.975, freedom) * np.sqrt(u + v)
        expected = np.exp(y.mean() - x.mean() + np.array([0.0, -half, half]))
        assert ratio_interval(before.tolist(), after.tolist()) == pytest.approx(expected.tolist())
    assert ratio_interval([2.0, 2.0], [3.0, 3.0]) == pytest.approx((1.5, 1.5, 1.5))
    ratio, low, high = ratio_interval([2.0, 2.0, 2.0], [3.0, 3.1])
    assert low < ratio < high


@pytest.mark.parametrize("text", ["", "{}", '{"format": "plc bench latency, 1"}', "[]", "1"])
def test_what_is_no_measurement_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "latency.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not what plc bench latency --save writes"):
        read_report(path)
