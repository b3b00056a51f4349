"""The command given what nobody should give it: a line and a status, never a traceback."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
import typer
from typer.main import get_command
from typer.testing import CliRunner

from plc.cli.errors import line_of
from plc.errors import ConfigError, why
from plc.programs.cli import app as cli
from plc_bench import cli as bench_cli
from tests.examples import is_deep
from tests.options import ran
from tests.processes import environment, hear_signals
from tests.signals import tones

RATE = 8_000
DIGITS = "9" * 5000
# Longer than anything here takes; only a failure waits for it.
PATIENCE_S = 120.0
HOSTILE = (
    "",
    "x",
    "-1",
    "0",
    "nan",
    "inf",
    "1e308",
    DIGITS,
    f"-{DIGITS}",
    f"0.{DIGITS}",
    f"{DIGITS}:{DIGITS}",
    "\udcff\udcfe.wav",
    "a" * 5000,
    "../.. /\n\t",
    "%s{in}[red]$(x)",
    "udp://a..b:5",
    "udp://[::1:5",
    f"udp://127.0.0.1:{DIGITS}",
    "device:",
    "/dev/null",
    "/proc/self/mem",
    "\u0661\u0662",
    "--",
)
# What a command needs before it looks at anything else, and what keeps it short.
NEEDED: dict[str, list[str]] = {
    "conceal": ["CLIP", "OUT", "--loss", "10%", "--method", "burg", "-y"],
    "inpaint": ["CLIP", "OUT", "--gap", "0.01:0.02", "--method", "zeros", "-y"],
    "repair": ["NEW", "--out", "NEW/out"],
    "lose": ["CLIP", "OUT", "--loss", "10%", "-y"],
    "send": ["CLIP", "--to", "udp://127.0.0.1:9", "--seconds", "0"],
    "relay": ["--listen", "udp://127.0.0.1:0", "--to", "OUT", "-y", "--seconds", "0"],
    "streams list": ["--control", "NONE"],
    "streams add": ["CLIP", "--control", "NONE"],
    "streams remove": ["NAME", "--control", "NONE"],
    "streams reload": ["--control", "NONE"],
    "impair": ["--listen", "udp://127.0.0.1:0", "--to", "udp://127.0.0.1:9"],
    "c build": ["--out", "NEW"],
    "bench quality": ["CLIP", "--jobs", "1"],
    "bench trace": ["CLIP", "OUT"],
    "bench report": ["NEW"],
    "bench detect damage": ["CLIP"],
    "bench detect dropouts": ["CLIP"],
    "bench detect content": ["CLIP"],
    "bench papers context-encoder": ["CLIP"],
    "bench papers published": ["CLIP"],
    "bench papers long-gaps": ["CLIP"],
    "bench papers phase": ["CLIP"],
    "bench papers representations": ["CLIP"],
}
# What takes long, or the machine, once the command line has been understood.
WORK = (
    "plc.transport.relay.relay.run_relay",
    "plc.transport.live.live.run_live",
    "plc.transport.live.sending.run_send",
    "plc.programs.doctor.examine",
    "plc.programs.demo.run",
    "plc.restore.repair.run_repair",
    "plc.programs.web.run_web",
    "plc.embed.library.build_library",
    "plc.embed.gstreamer.install",
    "plc.embed.gstreamer.check",
    "plc_bench.quality.study.run",
    "plc_bench.base.workers.score_clips",
    "plc_bench.gaps.twosided.measure_inpainting",
    "plc_bench.papers.context_encoder.measure_paper_tables",
    "plc_bench.papers.long_gaps.measure_long_gaps",
    "plc_bench.papers.probes.measure_probes",
    "plc_bench.timing.latency.measure",
    "plc_bench.timing.server.measure",
    "plc_bench.timing.gpu.measure",
    "plc_bench.robust.soak.soak",
    "plc_bench.robust.transport.load",
    "plc_bench.robust.transport.cost",
    "plc_bench.robust.receiver.speech",
    "plc_bench.robust.library.push_from_c",
)
# They hand all they get to a command of their own.
PASSED_ON = {"bench", "train", "export"}


def commands(app: typer.Typer) -> dict[str, Any]:
    """Return every command of an app by its name, those of groups too."""
    found: dict[str, Any] = {}

    def look(command: Any, name: str) -> None:
        for each, below in getattr(command, "commands", {}).items():
            look(below, f"{name} {each}".strip())
        if not hasattr(command, "commands"):
            found[name] = command

    look(get_command(app), "")
    return found


OURS = {name: c for name, c in commands(cli.app).items() if name not in PASSED_ON}
MEASURING = commands(bench_cli.app)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("attack")
    soundfile.write(place / "clip.wav", tones(1, RATE, RATE // 10), RATE, subtype="PCM_16")
    before = Path.cwd()
    os.chdir(place)  # names without a folder are files here
    yield place
    os.chdir(before)


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse the work itself: what is tested is the way to it."""

    def refuse(*_: object, **__: object) -> None:
        raise ConfigError("no work is done here")

    for name in WORK:
        monkeypatch.setattr(name, refuse)
    monkeypatch.setattr("plc.transport.rtp.udp.serve", lambda *_, **__: None)


def filled(words: list[str], folder: Path) -> list[str]:
    places = {
        "CLIP": folder / "clip.wav",
        "OUT": folder / "out.wav",
        "SOCKET": folder / "socket",
        "NEW": folder / "new",
    }
    return [str(places.get(word, word)) for word in words]


def check(app: typer.Typer, arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    fault = result.exception
    assert fault is None or isinstance(fault, SystemExit), (arguments[:12], repr(fault)[:500])
    assert result.exit_code in (0, 1, 2), arguments
    assert "Traceback" not in result.output


def attempts(name: str, command: Any, folder: Path) -> Iterator[list[str]]:
    """Yield command lines: each option with each value, then each argument."""
    words = filled(NEEDED.get(name, []), folder)
    for parameter in command.params:
        options = [option for option in parameter.opts if option.startswith("--")]
        if parameter.name in ("help", "version") or getattr(parameter, "is_flag", False):
            continue
        for value in HOSTILE:
            if options:
                yield [*name.split(), *words, f"{options[0]}={value}"]
    arguments = [p for p in command.params if not any(o.startswith("-") for o in p.opts)]
    for place in range(len(arguments)):
        for value in HOSTILE:
            given = list(words[: len(arguments)]) or filled(["CLIP"] * len(arguments), folder)
            given += [str(folder / "clip.wav")] * (len(arguments) - len(given))
            given[place] = value
            yield [*name.split(), *words[len(arguments) :], "--", *given]


def chosen(lines: Iterator[list[str]]) -> Iterator[list[str]]:
    """Yield every line in the long form, otherwise every fifth."""
    return islice(lines, 0, None, 1 if is_deep() else 5)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("name", OURS)
def test_no_option_of_a_command_leads_to_a_traceback(name: str, folder: Path) -> None:
    for arguments in chosen(attempts(name, OURS[name], folder)):
        check(cli.app, arguments)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("name", MEASURING)
def test_no_option_of_a_measurement_leads_to_a_traceback(name: str, folder: Path) -> None:
    for arguments in chosen(attempts(f"bench {name}", MEASURING[name], folder)):
        check(cli.app, arguments)


def plc(*arguments: str | bytes | Path, **settings: Any) -> subprocess.CompletedProcess[bytes]:
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        [sys.executable, "-m", "plc", *map(os.fsencode, arguments)],
        env=environment(),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
        **settings,
    )
    return done


def test_names_that_are_no_text_are_read_written_and_told(folder: Path) -> None:
    if os.name != "posix":
        pytest.skip("names are text here")
    source = Path(os.fsdecode(b"in\xff.wav"))
    source.write_bytes((folder / "clip.wav").read_bytes())
    done = plc("lose", b"in\xff.wav", b"out\xfe.flac", "--loss", "10%")
    assert done.returncode == 0, done.stderr
    assert b"out\xfe.flac" in done.stdout
    assert Path(os.fsdecode(b"out\xfe.flac")).exists()
    assert Path(os.fsdecode(b"out\xfe.trace")).exists()
    again = plc("lose", b"in\xff.wav", b"out\xfe.flac", "--loss", "10%")
    assert again.returncode == 1
    assert again.stderr.startswith(b"plc: out\xfe.flac exists")
    assert len(again.stderr.splitlines()) == 1


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_closed_descriptor_is_told_or_does_not_matter(folder: Path, descriptor: int) -> None:
    done = plc("models", preexec_fn=lambda: os.close(descriptor))
    assert b"Traceback" not in done.stderr
    if descriptor == 1:
        assert done.returncode == 1
        assert done.stderr.splitlines() == [b"plc: cannot write the result: Bad file descriptor"]
    else:
        assert done.returncode == 0
        assert b"music" in done.stdout


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refused_to_lose(source: Path, target: Path, size: int) -> str:
    """Return the one line of ``plc lose`` that may write files of so many bytes."""
    with files_of_at_most(size):
        done = ran(cli.app, "lose", str(source), str(target), "--loss", "10%", status=1)
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_a_file_that_cannot_grow_says_so_and_is_gone(tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "in.wav", tmp_path / f"out{suffix}"
    rng = np.random.default_rng(1)
    signal_ = 0.1 * rng.standard_normal(20 * RATE).astype(np.float32)
    soundfile.write(source, signal_, RATE, subtype="PCM_16")
    line = refused_to_lose(source, target, 20_000)
    assert line == f"plc: cannot write {target}: File too large"
    assert [path.name for path in tmp_path.iterdir()] == ["in.wav"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device"), "cannot write the result: No space left"),
        (FileNotFoundError(2, "No such file or directory", "a\nb"), "a b: No such file"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), "a name or a"),
        (MemoryError(), "there is not enough memory"),
        (OverflowError("cannot convert float infinity to integer"), "a number is too large"),
    ],
)
def test_what_the_system_says_is_told_in_a_line(error: Exception, line: str) -> None:
    said = line_of(error)
    assert said is not None
    assert said.startswith(line)
    assert "\n" not in said


def test_a_fault_of_ours_and_a_reader_that_left_are_not_told() -> None:
    assert line_of(KeyError("x")) is None
    assert line_of(ValueError("x")) is None
    assert line_of(BrokenPipeError(32, "Broken pipe")) is None
    assert "the disk is full" in why(OSError(28, "No space left on device"))


RELAY = ["relay", "--workers", "2", "--codec", "l16", "--model", "ar"] + [
    word for _ in range(2) for word in ("--listen", "udp://127.0.0.1:0", "--to", "udp://[::1]:9")
]
BENCH = ["bench", "quality", "--methods", "zeros,ar", "--jobs", "2"]


@pytest.mark.parametrize("busy_s", [pytest.param(0.0, marks=pytest.mark.deep), 0.2])
@pytest.mark.parametrize("workers", ["relay", "bench"])
def test_an_interrupt_while_workers_start_leaves_neither_them_nor_a_traceback(
    tmp_path: Path, workers: str, busy_s: float
) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        soundfile.write(tmp_path / name, tones(1, RATE, RATE), RATE, subtype="PCM_16")
    arguments = RELAY if workers == "relay" else [*BENCH, str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "plc", *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=hear_signals,
    )
    parent = psutil.Process(process.pid)
    wait_until(lambda: spawned(parent, busy_s) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert b"Traceback" not in said, said.decode()
    # A relay whose workers had begun by then ends as it should.
    assert process.returncode == 130 or (workers == "relay" and busy_s and not process.returncode)
    wait_until(lambda: not group(process.pid))


def spawned(parent: psutil.Process, busy_s: float) -> bool:
    """Return whether a worker has been started and has computed for so long."""
    try:
        return any(
            "spawn_main" in " ".join(child.cmdline()) and child.cpu_times().user >= busy_s
            for child in parent.children()
        )
    except psutil.NoSuchProcess:
        return False


def group(number: int) -> bool:
    """Return whether a process group has a process left."""
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)
