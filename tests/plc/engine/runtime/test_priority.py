"""Real-time priority: asked once, taken by threads, given up where one spins."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plc import Concealer
from plc.engine.runtime import priority as of
from plc.engine.runtime.priority import Priority
from plc.engine.runtime.threads import Level, aside, take
from plc.errors import ConfigError
from tests.processes import environment

resource = pytest.importorskip("resource")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="schedulers are Linux's")


class Kernel:
    """Grants real-time priority up to a level, and notes what threads have."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.threads: dict[int, tuple[int, int]] = {}

    def set(self, thread: int, policy: int, param: os.sched_param) -> None:
        if param.sched_priority > self.most:
            raise PermissionError(1, "Operation not permitted")
        thread = thread or threading.get_native_id()
        self.threads[thread] = policy & ~os.SCHED_RESET_ON_FORK, param.sched_priority

    def of(self, thread: int | None = None) -> tuple[int, int]:
        return self.threads.get(thread or threading.get_native_id(), (os.SCHED_OTHER, 0))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made = Kernel(99)
    monkeypatch.setattr(os, "sched_setscheduler", made.set)
    monkeypatch.setattr(of, "locks_memory", lambda: False)
    monkeypatch.setattr(of, "has_rtkit", lambda: False)
    handler = signal.getsignal(signal.SIGXCPU)
    yield made
    assert signal.getsignal(signal.SIGXCPU) is handler


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10.0)
    assert not thread.is_alive()


def test_each_thread_has_its_level_while_it_is_asked_for(kernel: Kernel) -> None:
    found: list[tuple[int, int]] = []
    with Priority() as asked:
        assert asked.granted
        assert take(Level.AUDIO)
        assert kernel.of() == (os.SCHED_FIFO, Level.AUDIO)

        def prepare() -> None:
            take(Level.PREPARING)
            found.append(kernel.of())

        in_thread(prepare)
        assert found == [(os.SCHED_FIFO, Level.PREPARING)]
        assert asked.describe() == "real-time (FIFO)"
    assert kernel.of() == (os.SCHED_OTHER, 0)
    assert Level.SERVING < Level.PREPARING < Level.AUDIO


def test_what_computes_long_is_set_aside(kernel: Kernel) -> None:
    with aside():  # nobody has asked
        pass
    with Priority():
        take(Level.AUDIO)
        with aside():
            assert kernel.of() == (os.SCHED_OTHER, 0)
        assert kernel.of() == (os.SCHED_FIFO, Level.AUDIO)


def test_a_library_leaves_the_threads_of_its_caller_alone(kernel: Kernel) -> None:
    concealer = Concealer(sample_rate=8000, packet_samples=80)
    concealer.push(None)
    concealer.close()
    assert not take(Level.AUDIO)
    with Priority("normal"):
        assert not take(Level.AUDIO)
    assert not any(policy == os.SCHED_FIFO for policy, _ in kernel.threads.values())


def test_a_refusal_is_one_line_and_an_error_where_it_was_demanded(kernel: Kernel) -> None:
    kernel.most = 0
    told: list[str] = []
    with Priority("auto", tell=told.append) as asked:
        assert not take(Level.AUDIO)
        assert asked.describe() == "ordinary"
    assert len(told) == 1
    assert "plc doctor" in told[0]
    with pytest.raises(ConfigError, match="LimitRTPRIO"), Priority("realtime"):
        pass
    with pytest.raises(ConfigError, match="auto, realtime or normal"):
        Priority("fast")  # type: ignore[arg-type]


def test_a_thread_that_spins_makes_all_ordinary_and_a_pause_later_they_are_not(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told: list[str] = []
    with Priority(tell=told.append) as asked:
        asked.take(Level.AUDIO)
        signal.raise_signal(signal.SIGXCPU)  # the kernel's way to tell
        assert kernel.of() == (os.SCHED_OTHER, 0)
        assert "spun" in asked.describe()
        asked.tend()
        asked.tend()
        assert [("without a rest" in line) for line in told] == [True]
        now[0] += 11.0
        asked.tend()
        assert kernel.of() == (os.SCHED_FIFO, Level.AUDIO)
        assert asked.spins == 1


def test_the_kernel_tells_of_a_thread_that_spins(monkeypatch: pytest.MonkeyPatch) -> None:
    if of.refusal_of(Level.AUDIO):
        pytest.skip("this process may not have real-time priority")
    monkeypatch.setattr(of, "SPIN_S", 0.1)
    monkeypatch.setattr(of, "locks_memory", lambda: False)
    with Priority(tell=lambda line: None) as asked:
        asked.take(Level.AUDIO)
        assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
        end_s = time.monotonic() + 20.0
        while not asked.spins and time.monotonic() < end_s:
            pass
        assert asked.spins
        assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER


def test_rtkit_is_asked_where_the_kernel_refuses(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kernel.most = 0
    asked_for = tmp_path / "asked"
    busctl = tmp_path / "busctl"
    busctl.write_text(f'#!/bin/sh\necho "$@" >> {asked_for}\n')
    busctl.chmod(busctl.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(of, "has_rtkit", lambda: True)
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)  # it cannot be raised again
    with Priority() as asked:
        assert asked.granted
        assert asked.take(Level.AUDIO)
    last = asked_for.read_text().splitlines()[-1].split()
    assert last[-5:] == [
        "MakeThreadRealtimeWithPID",
        "ttu",
        str(os.getpid()),
        str(threading.get_native_id()),
        str(int(Level.AUDIO)),
    ]
    busctl.write_text("#!/bin/sh\necho no such service >&2\nexit 1\n")
    told: list[str] = []
    with Priority(tell=told.append) as asked:
        assert not asked.granted
    assert "rtkit: no such service" in told[0]


UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
COMMANDS = {
    "relay": ["relay", "--listen", "udp://127.0.0.1:0", "--to", "udp://127.0.0.1:9"],
    "two workers": ["relay", "--workers", "2"]
    + 2 * ["--listen", "udp://127.0.0.1:0", "--to", "udp://127.0.0.1:9"],
    "live": ["live", "--in", "udp://127.0.0.1:0"],
}


@pytest.mark.system
@pytest.mark.parametrize("name", [*COMMANDS, "doctor"])
def test_without_the_right_a_program_says_so_once_and_runs(name: str, tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root, to give its rights away, and setpriv")

    def forbid() -> None:
        resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))

    command = [*UNPRIVILEGED, sys.executable, "-m", "plc"]
    if name == "doctor":
        said = subprocess.run(
            [*command, "doctor", "--json"], cwd=tmp_path, env=environment(), preexec_fn=forbid,
            capture_output=True, text=True, timeout=300, check=False,
        ).stdout  # fmt: skip
        real_time = json.loads(said)["real_time"]
        assert not real_time["fifo_scheduler"]
        assert "LimitRTPRIO" in real_time["fifo_hint"]
        return
    program = subprocess.Popen(
        [*command, *COMMANDS[name]], cwd=tmp_path, env=environment(), preexec_fn=forbid,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stderr is not None
    said = ""
    for line in program.stderr:
        said += line
        # Several workers do not say where they listen, and live may not come so far.
        if "127.0.0.1" in line or name in ("live", "two workers"):
            break
    if name == "two workers":
        time.sleep(5.0)
    if name == "live" and "no real-time" not in said:  # without a sound card or PortAudio
        said += program.communicate(timeout=60)[1]
        pytest.skip(f"plc live does not run here: {said}")
    program.terminate()
    said += program.communicate(timeout=60)[1]
    assert said.count("no real-time priority (Operation not permitted)") == 1, said
    assert said.count("plc doctor says what to do") == 1
    assert "Traceback" not in said
