"""Texts from outside, as they are printed."""

import pytest

from plc.cli.output import say
from plc.errors import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é, 日本", "plain, é, 日本"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("two\nlines\r", r"two\x0alines\x0d"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("\u202egnp.exe\u2028", r"\u202egnp.exe\u2028"),
        ("\ud800", r"\ud800"),
        ("\U000e0001", r"\U000e0001"),
        ("caf\udce9.wav", "caf\udce9.wav"),
    ],
)
def test_nothing_that_is_printed_commands_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_the_command_prints_names_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("plc: \x1b]0;owned\x07\nplc: all is well", err=True)
    assert capsys.readouterr().err == r"plc: \x1b]0;owned\x07\x0aplc: all is well" + "\n"
