import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import plc
import plc_kernels
from plc import notice
from plc.engine.stream import warm
from plc.engine.stream.warm import Progress, Warmth, WarmUp
from plc.transport.rtp.pieces import WARM_UPS
from plc_kernels.receive import entry as receive
from plc_kernels.receive import pieces
from tests.processes import environment

unliteral = pytest.importorskip("numba.core.types").unliteral

KERNELS = tuple(kernel for each in WARM_UPS for kernel in each.kernels)

# Construct one mono stream and conceal a packet of it; say what was played, how many kernels had
# a cache, and how many were found in it.
PROGRAM = """
import numpy as np
from plc import Concealer; from plc.engine.stream import warm
concealer = Concealer(sample_rate=16_000, packet_samples=160, budget_ms=float("inf"))
t = np.arange(1600) / 16_000
for packet in np.sin(2 * np.pi * 440 * t).astype(np.float32).reshape(10, 160):
    concealer.push(packet)
played = concealer.push(None)
truth = np.sin(2 * np.pi * 440 * (t[:160] + 0.1))
kernels = warm.AUDIO_PATH
cached = sum(type(kernel._cache._behind).__name__ != "NullCache" for kernel in kernels)
hits = sum(sum(kernel.stats.cache_hits.values()) for kernel in kernels)
print(np.abs(played[:, 0] - truth).max() < 0.01, cached, hits, len(kernels))
"""


def start(environment: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> tuple[bool, int, int, int]:
    """Return what PROGRAM printed: concealed well?, kernels with a cache, found in it, in all."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    well, *counts = out.split()
    cached, hits, kernels = (int(each) for each in counts)
    return well == "True", cached, hits, kernels


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}


def how(**given: Any) -> Warmth:
    """Return a warm-up of no kernels."""
    return Warmth(**({"kernels": (), "compile": (), "beside": None} | given))


def test_a_program_is_told_why_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    heard = threading.Event()

    def listen(line: str, _: int = 0) -> None:
        told.append(line)
        heard.set()

    monkeypatch.setattr(notice, "listener", listen)
    # A worker of these tests that has compiled was told so already.
    monkeypatch.setattr(notice, "tell_once", listen)
    for number, line in ((-1, warm.COMPILING), (0, warm.LOADING)):
        heard.clear()
        slow: dict[str, Any] = {"compile": (lambda: heard.wait(30.0),), "slow_s": 0.0}
        WarmUp(how(compiled=lambda _, number=number: number, **slow))()
        assert told.pop() == line
    WarmUp(how(slow_s=60.0))()
    assert not told


SLOW_START = """
import logging, time
from plc import notice
from plc.engine.stream.warm import Warmth, WarmUp
slow = dict(kernels=(), compile=(lambda: time.sleep(0.5),), beside=None, slow_s=0.0)
for setting, compiled in {cases} * 2:
    exec(setting)
    WarmUp(Warmth(compiled=lambda _: compiled, **slow))()
"""


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        ([("", -1)], warm.COMPILING + "\n"),
        (
            [
                ("log = logging.getLogger('plc'); log.setLevel(0); notice.listener = None", 0),
                ("log.setLevel(logging.ERROR)", -1),
                ("log.setLevel(0); notice.listener = lambda line: None", -1),
            ],
            "",
        ),
    ],
)
def test_a_program_without_logging_is_warned_once_of_compiling_and_of_nothing_else(
    cases: list[tuple[str, int]], said: str
) -> None:
    program = SLOW_START.format(cases=cases)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("", said)


def test_a_program_is_told_how_far_compiling_is() -> None:
    number = 0
    progress = Progress(Warmth(compiled=lambda _: number))
    assert progress.why() == warm.COMPILING
    counted = 0
    line = "compiling the kernels: {} functions done; the last take longest"
    for done, said in ((0, "0 of some 240"), (120, "120 of some 240"), (250, "250 of some 250")):
        for _ in range(done - counted):
            progress.count()
        counted = done
        assert progress.why() == line.format(said)
    number = len(warm.AUDIO_PATH)
    assert progress.why() == warm.LOADING


@pytest.mark.parametrize("program", ["raise SystemExit(1)", "import time; time.sleep(600.0)"])
def test_what_the_process_beside_does_not_compile_this_one_does(program: str) -> None:
    started: list[subprocess.Popen[bytes]] = []
    ran: list[str] = []

    def start(_: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", program]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return started[-1]

    parts = {
        "compile": (lambda: ran.append("step"),),
        "beside": lambda: ran.append("networks"),
    }
    folder: dict[str, Any] = {"folder": lambda: Path("folder"), "cores": lambda: 2}
    WarmUp(how(**parts, start=start, wait_s=1.0, **folder))()
    assert ran == ["step", "networks"]
    (process,) = started
    assert process.returncode is not None
    assert process.stdin is not None
    assert process.stdin.closed


def test_a_process_beside_is_started_for_an_empty_cache_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cold: dict[str, Any] = {
        "compiled": lambda _: 0,
        "cores": lambda: 2,
        "folder": lambda: Path("folder"),
    }
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3.12")
    assert Warmth(**cold).is_worth_a_process()
    for name, answer in (("compiled", 1), ("cores", 1), ("folder", None)):
        given = cold | {name: lambda *_, answer=answer: answer}
        assert not Warmth(**given).is_worth_a_process()
    for program in ("/opt/daw/host", "", None):
        monkeypatch.setattr(sys, "executable", program)
        assert not Warmth(**cold).is_worth_a_process()
    monkeypatch.setattr(sys, "executable", "/dev/null/python")
    assert Warmth().start("") is None


def test_a_cache_that_cannot_be_read_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class File:
        def __init__(self, index: dict[str, str] | None) -> None:
            self._index = index

        def _load_index(self) -> dict[str, str]:
            if self._index is None:
                raise PermissionError("it is being replaced")
            return self._index

    kernels = tuple(
        SimpleNamespace(_cache=SimpleNamespace(_cache_file=File(index)))
        for index in (None, {}, {"key": "file"})
    )
    assert warm.compiled((*kernels, SimpleNamespace())) == 1


def test_threads_that_warm_up_at_once_run_the_kernels_once() -> None:
    runs: list[int] = []
    finished_before_run: list[bool] = []
    together = threading.Barrier(8)
    done = [False] * 8

    def run() -> None:
        runs.append(threading.get_ident())
        time.sleep(0.1)
        finished_before_run.append(any(done))

    once = WarmUp(how(compile=(run,)))

    def warm_up(place: int) -> None:
        together.wait()
        once()
        done[place] = True

    threads = [threading.Thread(target=warm_up, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 1
    assert all(done)
    # Nobody went on while the kernels were being run.
    assert finished_before_run == [False]


def _types(kernel: Any) -> set[tuple[object, ...]]:
    """Return what a kernel takes; kernels that call it may have it compiled for constants, too."""
    return {tuple(map(unliteral, types)) for types in kernel.signatures}


def test_every_kernel_is_compiled_for_one_set_of_types_and_closed() -> None:
    plc.warm_up()
    for kernel in KERNELS:
        assert len(_types(kernel)) == 1, kernel.__name__
        assert not kernel._can_compile, kernel.__name__


def test_every_kernel_that_plays_is_warmed() -> None:
    # Those that others call are compiled with them; these are called from Python.
    from plc.engine.ahead import bursts as ahead
    from plc.engine.stream import concealer, concealment, memory, network_choice, outside, stats

    def used(*modules: ModuleType) -> set[Any]:
        values = [value for module in modules for value in vars(module).values()]
        return {value for value in values if hasattr(value, "disable_compile")}

    by_step = used(concealer, memory, stats, ahead, concealment, network_choice, outside)
    assert by_step <= {*warm.AUDIO_PATH}
    assert len(by_step) >= 7
    assert {*receive.KERNELS, *pieces.KERNELS} <= {*KERNELS}


# Costs one compilation of every kernel, some 15 s.
@pytest.mark.system
def test_a_read_only_install_without_a_home_conceals_too(tmp_path: Path) -> None:
    nowhere = "/dev/null/nowhere"
    for package in (plc, plc_kernels):
        assert package.__file__ is not None
        source = Path(package.__file__).parent
        shutil.copytree(
            source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__")
        )
        # A file where the cache beside the sources would be: even root cannot write there.
        for module in (tmp_path / source.name).rglob("__init__.py"):
            module.with_name("__pycache__").write_text("")
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    environment = clean_environment() | {
        "PYTHONPATH": str(tmp_path),
        "HOME": nowhere,
        "XDG_CACHE_HOME": nowhere,
        "NUMBA_CACHE_DIR": nowhere,
        "PLC_CACHE_DIR": nowhere,
    }
    try:
        well, cached, _, kernels = answer(start(environment, Path("/")))
    finally:
        for path in (tmp_path, *tmp_path.rglob("*")):
            path.chmod(0o755)
    assert well
    assert cached == 0
    assert kernels == len(warm.AUDIO_PATH)


# Costs as many compilations of every kernel as there are processes.
@pytest.mark.system
def test_processes_that_fill_an_empty_cache_at_once_all_conceal(tmp_path: Path) -> None:
    roots = [str(Path(str(package.__file__)).parents[1]) for package in (plc, plc_kernels)]
    environment = clean_environment() | {
        "PYTHONPATH": os.pathsep.join(roots),
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    processes = [start(environment, tmp_path) for _ in range(3)]
    answers = [answer(process) for process in processes]
    kernels = len(warm.AUDIO_PATH)
    for well, cached, _, _ in answers:
        assert well
        assert cached == kernels
    # And what they left behind is sound.
    well, _, hits, _ = answer(start(environment, tmp_path))
    assert well
    assert hits == kernels


def test_a_lock_that_an_interrupted_call_kept_holds_up_nobody_later() -> None:
    once = WarmUp(how())
    once.lock = threading.RLock()  # that of all is not to be lost
    once()
    holder = threading.Thread(target=once.lock.acquire)  # it is gone, and the lock is held
    holder.start()
    holder.join()
    other = threading.Thread(target=once, daemon=True)
    other.start()
    other.join(30.0)
    assert not other.is_alive()
