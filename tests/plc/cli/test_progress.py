"""How far a run is, where nothing moves."""

import io
from pathlib import Path

import pytest
import soundfile
from rich.console import Console
from typer.testing import CliRunner

from plc.cli import progress
from plc.cli.progress import duration
from plc.programs.cli.app import app as plc_app
from plc_bench.cli import app
from tests.signals import tones

RATE = 8_000


def test_a_line_comes_every_half_minute_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"s": 100.0}
    monkeypatch.setattr("plc.cli.progress.time.monotonic", lambda: clock["s"])
    written = io.StringIO()
    with progress.shown("clips", 20, Console(file=written)) as meter:
        for _ in range(20):
            clock["s"] += 12.0
            meter.advance()
    assert written.getvalue().splitlines() == [
        "clips: 3 of 20, 3 min 24 s left",
        "clips: 6 of 20, 2 min 48 s left",
        "clips: 9 of 20, 2 min 12 s left",
        "clips: 12 of 20, 1 min 36 s left",
        "clips: 15 of 20, 1 min 00 s left",
        "clips: 18 of 20, 24 s left",
    ]


def test_what_was_done_before_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"s": 100.0}
    monkeypatch.setattr("plc.cli.progress.time.monotonic", lambda: clock["s"])
    written = io.StringIO()
    with progress.shown("training", console=Console(file=written)) as meter:
        meter.start(20, 10)
        for _ in range(3):
            clock["s"] += 12.0
            meter.advance(1, "loss 0.5")
    assert written.getvalue() == "training: 13 of 20, loss 0.5, 1 min 24 s left\n"


def test_the_end_is_told_where_that_is_asked_for() -> None:
    written = io.StringIO()
    with progress.shown("all", 1, Console(file=written), to_the_end=True) as meter:
        meter.advance()
    assert written.getvalue() == "all: 1 of 1, 0 s left\n"


def test_a_terminal_has_a_bar_and_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_S", 0.0)
    written = io.StringIO()
    terminal = Console(file=written, force_terminal=True, width=80)
    with progress.shown("clips", 4, terminal) as meter:
        meter.advance(2.0)
    assert "clips" in written.getvalue()
    assert " left" not in written.getvalue()


def test_a_share_is_said_of_what_has_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"s": 100.0}
    monkeypatch.setattr("plc.cli.progress.time.monotonic", lambda: clock["s"])
    written = io.StringIO()
    with progress.shown("1 of 2: a\x1b[2J.wav", console=Console(file=written), share=True) as meter:
        for samples in (0, 4800, 9600, 14_400):
            meter.reach(samples, 48_000)
            clock["s"] += 20.0
    assert written.getvalue().splitlines() == [r"1 of 2: a\x1b[2J.wav: 20 %, 2 min 40 s left"]
    with progress.shown("of unknown length", console=Console(file=written), share=True) as meter:
        clock["s"] += 60.0
        meter.reach(4800, None)
    assert "unknown" not in written.getvalue()


def test_a_log_says_how_far_a_recording_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", tones(1, 2 * RATE, RATE), RATE)
    monkeypatch.setattr(progress, "LINE_S", 0.0)
    files = [str(tmp_path / name) for name in ("a.wav", "b.wav")]
    result = CliRunner().invoke(plc_app, ["conceal", *files, "--loss", "0.1", "--method", "ar"])
    lines = [line for line in result.stderr.splitlines() if line.endswith(" left")]
    assert lines[-1] == "concealing: 100 %, 0 s left"
    assert lines[0].startswith("concealing: 64 %, ")


@pytest.mark.parametrize("options", [(), ("--out", "results")])
def test_a_log_says_how_far_a_comparison_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, tones(1, RATE, RATE), RATE)
    arguments = ["quality", ".", "--methods", "zeros", "--jobs", "1"]
    assert "scores: " not in CliRunner().invoke(app, arguments).stderr  # over too soon
    monkeypatch.setattr(progress, "LINE_S", 0.0)
    result = CliRunner().invoke(app, [*arguments, *options])
    lines = [line for line in result.stderr.splitlines() if line.startswith("scores: ")]
    assert [line.partition(",")[0] for line in lines] == ["scores: 1 of 2", "scores: 2 of 2"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_times_are_said_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text
