import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.errors import ConfigError, MissingExtraError
from plc_bench.cli import app
from plc_bench.peers.base import PeerError
from plc_bench.peers.neteq import Played
from plc_bench.report.charts import draw_receivers
from plc_bench.robust import receiver as bench
from plc_bench.robust.receiver import account, align, measure
from plc_bench.robust.schedules import Schedule
from tests.options import ran
from tests.signals import noise

RATE, BLOCK, PACKET = 16_000, 160, 320
SECONDS = 10
SPOKEN = np.convolve(noise(1, SECONDS * RATE), np.hanning(9), "same").astype(np.float32)
EVEN = Schedule(np.linspace(20.0, 1000.0 * SECONDS, 50 * SECONDS), 1.0)
DELAY = 800
"""Samples from the recording to what is heard, 30 ms of which are no packet's own."""


def accounted(
    heard: NDArray[np.float32], made_up: int = 0, inserted: int = 0, schedule: Schedule = EVEN
) -> dict[str, float]:
    """Return what is counted of a sound whose counters jump in its middle."""
    blocks = heard.size // BLOCK
    behind = (np.arange(blocks) >= blocks // 2).astype(np.float64)
    played = Played(heard[:, None], made_up * behind, inserted * behind)
    sums = account(played, schedule, *align(heard, SPOKEN, schedule.speed))
    return dict(zip(("delay", "made up", "though", "twice", "left out"), sums, strict=True))


def delayed(*parts: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(DELAY - BLOCK, np.float32), *parts])


def test_a_whole_recording_is_heard_at_its_delay() -> None:
    found = accounted(delayed(SPOKEN))
    assert found["delay"] == pytest.approx(30.0)
    assert [found[name] for name in ("made up", "though", "twice", "left out")] == [0.0] * 4


@pytest.mark.parametrize("lost", [False, True])
def test_what_is_made_up_is_counted_apart_from_what_never_arrived(lost: bool) -> None:
    arrivals_ms = EVEN.arrivals_ms.copy()
    begin, stop = 200, 210
    if lost:
        arrivals_ms[begin:stop] = np.inf
    hole = np.zeros((stop - begin) * PACKET, np.float32)
    heard = delayed(SPOKEN[: begin * PACKET], hole, SPOKEN[stop * PACKET :])
    found = accounted(heard, made_up=hole.size, schedule=Schedule(arrivals_ms, 1.0))
    assert found["made up"] == 200.0
    assert found["though"] == found["left out"] == (0.0 if lost else 200.0)


def test_what_is_cut_out_or_played_again_is_seen_without_the_receivers_word() -> None:
    half = SPOKEN.size // 2
    cut = accounted(delayed(SPOKEN[:half], SPOKEN[half + 640 :]))
    assert (cut["left out"], cut["twice"]) == (40.0, 0.0)
    again = accounted(delayed(SPOKEN[:half], SPOKEN[half - 640 :]), inserted=640)
    assert (again["left out"], again["twice"]) == (0.0, 40.0)
    assert cut["delay"] == pytest.approx(10.0, abs=2.0 + 20.0)
    assert again["delay"] > 30.0 > cut["delay"]


def test_the_delay_is_by_the_senders_clock() -> None:
    schedule = Schedule(EVEN.arrivals_ms / 1.0005, 1.0005)
    # By the sender's clock more was recorded in the same time.
    heard = np.interp(np.arange(0.0, SPOKEN.size - 1.0, 1.0005), np.arange(SPOKEN.size), SPOKEN)
    found = accounted(delayed(heard.astype(np.float32)), schedule=schedule)
    assert found["delay"] == pytest.approx(30.0, abs=0.5)


@pytest.mark.parametrize(
    ("receiver", "setting"), [("plc", 0.0), ("plc", 1.0), ("neteq", 0.0), ("neteq", 80.0)]
)
def test_both_receivers_play_an_even_schedule_whole(receiver: str, setting: float) -> None:
    try:
        found = measure(bench.speech((), SECONDS), [0, 1], False, ("step-up", receiver, setting))
    except PeerError as error:
        if "apt-get install" in str(error):
            pytest.skip(str(error))
        raise
    assert found.made_up_ms == found.though_arrived_ms == 0.0
    assert 0.0 <= found.left_out_ms < 80.0
    if receiver == "neteq":
        assert 0.9 * setting < found.delay_ms < setting + 50.0
    else:
        assert 5.0 < found.delay_ms < 95.0


def test_a_row_is_printed_with_the_reason_for_a_score_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(*_: object) -> float:
        raise MissingExtraError("PESQ needs pesq")

    monkeypatch.setattr(bench, "pesq_wb", absent)
    monkeypatch.setattr(bench, "plcmos", lambda _: 4.25)
    found = measure(bench.speech((), SECONDS), [0], True, ("minority", "plc", 0.5))
    assert (found.plcmos, found.unscored) == (4.25, "PESQ needs pesq")
    table = bench.receiver_table([found])
    assert [cell.text for cell in table.rows[0]][-2:] == ["4.25", "-"]
    assert table.note == "PESQ needs pesq"


def test_the_command_shows_a_curve_of_one_receiver_and_draws_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = bench.speech((), 10.0)
    monkeypatch.setattr(bench, "speech", lambda _: short)
    words = ["--schedules", "drift", "--seeds", "1", "--no-scores", "--min-delay-ms="]
    words += ["--safety", "0.2,0.8", "--picture", f"{tmp_path / 'curve.svg'}", "--json"]
    result = ran(app, "robust", "receiver", *words)
    rows = json.loads(result.stdout)
    assert [(row["receiver"], row["setting"]) for row in rows] == [("plc", 0.2), ("plc", 0.8)]
    assert rows[0]["delay_ms"] < rows[1]["delay_ms"]
    assert "made up" in (tmp_path / "curve.svg").read_text(encoding="utf-8")
    scored = replace(measure(short, [0], False, ("drift", "plc", 0.5)), pesq=3.5)
    draw_receivers(tmp_path / "scored.svg", [scored])
    assert "PESQ" in (tmp_path / "scored.svg").read_text(encoding="utf-8")


def test_a_schedule_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="schedule 'wlan' is none; known: two-links"):
        bench.all_runs(["wlan"], [0.5], [])
    with pytest.raises(ConfigError, match="seconds is inf"):
        bench.speech((), float("inf"))
