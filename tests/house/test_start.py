"""The short pages of docs/start: few words, and commands that work as they stand."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from plc.embed.library import Library
from plc.engine.trace_files import read_trace
from tests.processes import ROOT, environment
from tests.signals import tones

PAGES = sorted((ROOT / "docs/start").glob("*.md"))
MOST_WORDS, LEAST_COMMANDS = 600, 3
# Those that go on until they are told to end.
SERVES = ("plc relay", "plc web --seconds")
PATIENCE_S = 300.0
# What each page's commands write.
MADE = {
    "agent": ("heard.wav", "phone.wav"),
    "archive": ("labels/damaged.wav.txt", "repaired/damaged.wav", "good.wav"),
    "browser": ("page/index.html", "page/plc.mjs"),
    "c": ("conceal", "heard.wav"),
    "inside": ("voice.opus", "heard.wav"),
    "library": ("lossy.wav", "heard.wav", "played.wav"),
    "live": ("heard.wav", "live.wav"),
    "measuring": ("RESULTS/summary.json", "report/index.html"),
}


def commands_of(page: Path) -> list[str]:
    """Return the commands of a page, without what brings the package."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    lines = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    return [re.sub(r"\s+# .*", "", line) for line in lines if not line.startswith("pip ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short_and_has_commands(page: Path) -> None:
    assert len(page.read_text().split()) <= MOST_WORDS
    assert "pip install" in page.read_text() or "plc c build" in page.read_text()
    assert len(commands_of(page)) >= LEAST_COMMANDS - 1  # besides the installation


def test_every_page_is_run_and_named_in_the_readme() -> None:
    assert [page.stem for page in PAGES] == sorted(MADE)
    for page in PAGES:
        assert f"docs/start/{page.name}" in (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package as its wheel brings it, far from this checkout."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "installed"))
    for name in (".ci", "plc", "kernels", "bench", "training"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.egg-info"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, str(source)], check=True, timeout=PATIENCE_S)
    return target


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return a folder with what the pages take for granted: a recording, and the examples."""
    mono = 0.3 * tones(1, 44_100, 4 * 44_100)
    clean = np.stack([mono, 0.5 * mono], axis=1)
    soundfile.write(tmp_path / "clean.wav", clean, 44_100)
    damaged = clean.copy()
    damaged[60_000:63_000] = 0.0
    for place in (tmp_path / "tapes/damaged.wav", tmp_path / "CLIPS/a.wav"):
        place.parent.mkdir()
        soundfile.write(place, damaged if "damaged" in place.name else clean, 44_100)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    if request.node.callspec.params["page"].stem == "c":
        built: Library = request.getfixturevalue("built")
        shutil.copytree(built.library.parent, tmp_path / "build", symlinks=True)
    return tmp_path


@pytest.mark.deep
@pytest.mark.system
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_work(page: Path, folder: Path, installed: Path) -> None:
    """From a wheel alone, in an empty home."""
    there = environment()
    there |= {"PATH": f"{installed / 'bin'}:{Path(sys.executable).parent}:{there['PATH']}"}
    if page.stem == "inside" and shutil.which("opusenc") is None:
        pytest.skip("opus-tools are not installed")
    (home := installed / "home").mkdir(exist_ok=True)  # one for all pages, which compile once
    there |= {"PYTHONPATH": str(installed), "HOME": str(home), "PYTHONSAFEPATH": "1"}
    for name in ("PLC_CACHE_DIR", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        there.pop(name, None)
    how: dict[str, Any] = {"cwd": folder, "env": there, "stdout": subprocess.PIPE, "text": True}
    served = None
    for command in commands_of(page):
        is_live = command.startswith("plc live") and ".wav" not in command
        if is_live or command.startswith(("plc c build", "npm")) or "baresip" in command:
            continue  # no sound card; the library is there; the package has tests of its own
        if command.startswith(SERVES):
            served = subprocess.Popen(command.split(), stderr=subprocess.PIPE, **how)
            assert served.stderr is not None
            next(line for line in served.stderr if "compiling" not in line)
            continue
        done = subprocess.run(
            command, shell=True, timeout=PATIENCE_S, check=False, stderr=subprocess.STDOUT, **how
        )
        assert done.returncode == 0, (command, done.stdout)
    if served is not None:
        served.send_signal(signal.SIGINT)
        _, said = served.communicate(timeout=60)
        assert served.returncode == 0, said
    for program in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        done = subprocess.run(
            [sys.executable, "-c", program], check=False, stderr=subprocess.STDOUT, **how
        )
        assert done.returncode == 0, done.stdout
        lost = read_trace(folder / "lossy.trace")
        # Each lost packet where it was lost: a trace's comment is no packet.
        said = f"print({program.split('lost = ')[1].splitlines()[0]} == {lost.tolist()})"
        checked = subprocess.run(
            [sys.executable, "-c", said], check=False, stderr=subprocess.STDOUT, **how
        )
        assert checked.stdout == "True\n"
        assert "samples were made up" in done.stdout
    for name in MADE[page.stem]:
        assert (folder / name).stat().st_size > 0
    if page.stem == "live":
        heard, _ = soundfile.read(folder / "heard.wav")
        assert np.std(heard) > 0.01
