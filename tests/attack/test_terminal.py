"""Names and texts of files, made to command the terminal that they are shown on."""

from pathlib import Path

import pytest

from plc.engine.models.manifest import Manifest
from plc.errors import ConfigError, printable, printable_lines
from plc.programs.cli.app import app
from tests.options import ran
from tests.plc.engine.models.test_manifest import VALID

pytest.importorskip("plc_bench")

from plc_bench.cli import options, report

# A title, a colour, a jump to the line's begin, and what reads as a mark of rich's own.
MARKS = "[/nobody][red]"
HOSTILE = f"\x1b]0;owned\x07\x1b[31m\rx\u202e{MARKS}"
COMMANDS = ("\x1b", "\x07", "\r", "\u202e")


def test_a_manifest_commands_neither_the_terminal_nor_the_table(tmp_path: Path) -> None:
    fields = {**VALID, "licence": MARKS, "training": {"note": HOSTILE}}
    path = tmp_path / "music.json"
    Manifest.from_fields(fields).write(path)
    shown = ran(app, "models", str(path))
    assert not any(command in shown.output for command in COMMANDS)
    assert "[red]" in shown.output


@pytest.mark.parametrize("program", ["plc_bench.cli", "plc_training.cli"])
def test_an_error_of_a_program_is_a_line_that_commands_nothing(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = pytest.importorskip(program)

    def refuse() -> None:
        raise ConfigError(HOSTILE)

    monkeypatch.setattr(module, "app", refuse)
    with pytest.raises(SystemExit):
        module.main()
    said = capsys.readouterr().err
    assert "owned" in said
    assert not any(command in said for command in COMMANDS)


def test_failed_clips_of_the_bench_are_told_without_their_commands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Failure:
        clip, method, reason = HOSTILE, "mine", HOSTILE

    options.report_failures([Failure()])
    said = capsys.readouterr().err
    assert "owned" in said
    assert not any(command in said for command in COMMANDS)


def test_a_page_of_the_bench_is_named_without_the_commands_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Page:
        path, clips, total_bytes = tmp_path / HOSTILE, 1, 1

    monkeypatch.setattr("plc_bench.report.build.build", lambda *_: Page())
    report.report(tmp_path, tmp_path)
    said = capsys.readouterr().out
    assert "[red]" in said
    assert not any(command in said for command in COMMANDS)


def test_lines_stay_lines_where_a_table_has_several() -> None:
    assert printable_lines("a\nb\x1b") == "a\nb\\x1b"
    assert printable("a\nb") == "a\\x0ab"
