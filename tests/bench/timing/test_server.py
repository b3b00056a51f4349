"""The cost of many streams, on a small load."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc.errors import ConfigError
from plc_bench.timing import server
from plc_bench.timing.server import ServerSettings, measure, server_tables
from tests.signals import tones

SMALL = ServerSettings(streams=3, packet_samples=64, seconds=0.3, methods=("server", "burg:5/30"))


def test_every_method_is_driven_with_the_same_losses() -> None:
    done: list[int] = []
    report = measure(SMALL, lambda: done.append(1))
    assert [cost.method for cost in report.costs] == ["server", "burg:5/30"]
    assert len(done) == 2
    for cost in report.costs:
        assert cost.received + cost.concealed == SMALL.streams * SMALL.ticks
        assert cost.concealed == report.costs[0].concealed > 0
        assert cost.received_us > 0.0
        assert cost.cores > 0.0
        assert cost.nmse_db < 0.0
        assert cost.tick_ms["p50"] <= cost.tick_ms["p99"] <= cost.tick_ms["max"]
    assert [len(table.rows) for table in server_tables(report)] == [2, 2]


def test_no_burst_is_longer_than_asked() -> None:
    settings = ServerSettings(streams=4, seconds=1.0, loss=0.5, mean_burst=8.0)
    arrived = server._arrived(settings)
    for row in (~arrived).T:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        assert (edges[1::2] - edges[::2]).max() == 3


def test_streams_stand_at_different_places_of_a_clip(tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, tones(1, 48_000, 96_000), 48_000, subtype="FLOAT")
    settings = ServerSettings(streams=2, seconds=0.1, clips=(clip,))
    packets = server._Packets(settings)
    whole, rate = soundfile.read(clip, dtype="float32")
    whole = np.resize(whole, 3 * whole.size)
    for tick in (0, 1, settings.ticks, 96_000 // 64 - 1):  # of the last, a part is the beginning
        packets.take(tick)
        for stream, begin in enumerate((0, round(0.37 * rate))):
            at = begin + 64 * tick
            np.testing.assert_array_equal(packets.now[stream, :, 0], whole[at : at + 64])


@pytest.mark.parametrize(("loss", "seconds"), [(-0.1, 1.0), (1.0, 1.0), (0.1, 0.0), (0.1, np.inf)])
def test_a_load_that_says_nothing_is_refused(loss: float, seconds: float) -> None:
    with pytest.raises(ConfigError, match="give a share of 0 or more"):
        ServerSettings(loss=loss, seconds=seconds)


def test_a_load_without_losses_has_the_time_of_its_ticks_alone() -> None:
    report = measure(ServerSettings(streams=2, seconds=0.1, loss=0.0, methods=("server",)))
    (cost,) = report.costs
    assert (cost.concealed, cost.mix) == (0, {})
    assert cost.tick_ms["p50"] > 0.0
    costs, played = server_tables(report)
    assert costs.rows[0][4].text == "-"
    assert [cell.text for cell in played.rows[0][-2:]] == ["-", "-"]


def test_rungs_networks_and_preparations_are_counted() -> None:
    clip = Path(server.__file__).parents[3] / "plc" / "data" / "speech.flac"
    report = measure(
        ServerSettings(
            streams=2,
            sample_rate=16_000,
            packet_samples=320,
            seconds=2.0,
            loss=0.2,
            methods=("server",),
            paced=True,
            clips=(clip,),
        )
    )
    (cost,) = report.costs
    assert sum(cost.mix.values()) == pytest.approx(1.0)
    assert list(cost.mix.values()) == sorted(cost.mix.values(), reverse=True)
    assert 0.0 < cost.mix["network:speech"] < 1.0
    assert 0.0 < cost.prepared <= 1.0
    assert 0.0 <= cost.late_per_mille <= 1000.0
    assert 0.0 < cost.a_core < cost.a_core_received
