"""What a sound server has, by a pactl of the test's own."""

from pathlib import Path

import pytest

from plc.transport.cards.portaudio import SoundServer, ask_sound_server

ANSWERS = """#!/bin/sh
test "$1 $2" = "list short" || exit 2
case $3 in
sources) printf '0\\tmic\\tmodule\\ts16le 2ch\\tIDLE\\n1\\tout.monitor\\tx\\ty\\tIDLE\\n' ;;
sinks) printf '0\\tout\\tmodule\\ts16le 2ch\\tIDLE\\nno columns\\n\\n\\377\\n' ;;
esac
"""


def pactl(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "pactl"
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_sources_and_sinks_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pactl(tmp_path, ANSWERS, monkeypatch)
    assert ask_sound_server() == SoundServer(("mic", "out.monitor"), ("out",))


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "no program\0", "#!/nowhere\n"])
def test_a_server_that_does_not_answer_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    pactl(tmp_path, text, monkeypatch)
    assert ask_sound_server() is None


def test_one_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plc.transport.cards.portaudio._ASK_S", 0.2)
    pactl(tmp_path, "#!/bin/sh\nexec sleep 5\n", monkeypatch)
    assert ask_sound_server() is None


def test_without_pactl_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_sound_server() is None
