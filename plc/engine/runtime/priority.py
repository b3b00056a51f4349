"""Real-time priority of a program's threads, where the system grants it.

A program asks once (:class:`Priority`); each of its threads then takes its level
(:mod:`plc.engine.runtime.threads`), and runs before ordinary programs (``SCHED_FIFO``). What these
threads start is ordinary at first (``SCHED_RESET_ON_FORK``).

The kernel grants it by ``RLIMIT_RTPRIO`` or ``CAP_SYS_NICE``; else rtkit [1]_ is asked through
systemd's ``busctl``. Memory is locked where the limit of it allows so for good: under a limit later
allocations would fail. A thread that computes for :data:`SPIN_S` without a rest is told by the
kernel (``RLIMIT_RTTIME``), and all are ordinary again for a while.

.. [1] https://github.com/heftig/rtkit
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Literal, Self

from plc import notice
from plc.engine.runtime import threads
from plc.engine.runtime.threads import Level
from plc.errors import ConfigError

Wish = Literal["auto", "realtime", "normal"]

SPIN_S = 0.5
"""Computing without a rest for so long is a fault."""
# rtkit's limit of that.
_RTKIT_SPIN_S = 0.2
# After a thread has spun all stay ordinary for so long; each time twice as long.
_PAUSE_S = 10.0
_MOST_PAUSE_S = 600.0
_RTKIT = ("org.freedesktop.RealtimeKit1", "/org/freedesktop/RealtimeKit1")
_RTKIT_WAIT_S = 2.0
# mlockall(2): what is there, what comes, and only once it is used.
_LOCK_ALL = 1 | 2 | 4
_CAP_IPC_LOCK = 14
ADVICE = (
    "allow it by LimitRTPRIO=20 and LimitMEMLOCK=infinity in a systemd unit, by '@audio - rtprio "
    "20' and '@audio - memlock unlimited' in /etc/security/limits.d, or by docker run --cap-add "
    "sys_nice --ulimit rtprio=20 --ulimit memlock=-1; on a desktop install rtkit"
)
"""How the system is told to grant it."""


class Priority:
    """A program's wish for real-time priority; a context manager.

    Threads take their levels once they are ready: opening a network computes longer than a guard
    allows. Enter it in the main thread: elsewhere no signal tells of a thread that spins, and
    nothing is granted.

    Parameters
    ----------
    wish : str
        ``auto``: if the system grants it, and a line if not; ``realtime``: or fail; ``normal``.
    tell : callable, takes the line

    Attributes
    ----------
    granted : bool, whether threads run in real time
    refusal : str, why not
    locked : bool, whether memory is locked
    spins : int
        Times that a thread has computed too long, and all became ordinary.

    Raises
    ------
    ConfigError
        On entering, where real time was demanded and is refused.
    """

    def __init__(self, wish: Wish = "auto", *, tell: Callable[[str], object] = notice.tell) -> None:
        if wish not in ("auto", "realtime", "normal"):
            raise ConfigError(f"priority is {wish!r}; give auto, realtime or normal")
        self.wish: Wish = wish
        self.granted = self.locked = False
        self.refusal = ""
        self.spins = 0
        self._tell = tell
        self._levels: dict[int, Level] = {}
        """Of the threads that took one, by the kernel's number."""
        self._by_rtkit = False
        self._lowered_s: float | None = None
        self._pause_s = _PAUSE_S
        self._told_spins = 0
        self._before: tuple[object, tuple[int, int]] | None = None

    def __enter__(self) -> Self:
        """Ask for it."""
        if self.wish == "normal" or threads.asked is not None:
            return self
        self.refusal = self._ask()
        self.granted = not self.refusal
        if self.granted:
            self.locked = _lock_memory()
            threads.asked = self
        elif self.wish == "realtime":
            raise ConfigError(f"no real-time priority: {self.refusal}; {ADVICE}")
        else:
            self._tell(
                f"no real-time priority ({self.refusal}): busy programs may disturb the sound; "
                "plc doctor says what to do"
            )
        return self

    def _ask(self) -> str:
        """Try it in this thread, and set the guard; return why it is refused."""
        if not sys.platform.startswith("linux"):
            return "only Linux is asked for it"
        if threading.current_thread() is not threading.main_thread():
            return "it is asked for outside the main thread"
        refusal = refusal_of(Level.AUDIO)
        if refusal and not has_rtkit():
            return refusal
        self._by_rtkit = bool(refusal)
        self._guard()
        if self._by_rtkit:
            refusal = _ask_rtkit(threading.get_native_id(), Level.AUDIO)
            _set_ordinary(threading.get_native_id())
            if refusal:
                self._unguard()
        return refusal if self._by_rtkit else ""

    def _guard(self) -> None:
        import resource

        before = resource.getrlimit(resource.RLIMIT_RTTIME)
        self._before = signal.signal(signal.SIGXCPU, self._lower_all), before
        self._limit_spinning()

    def _limit_spinning(self) -> None:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
        soft = round(1e6 * (_RTKIT_SPIN_S / 2.0 if self._by_rtkit else SPIN_S))
        if self._by_rtkit:  # it demands a hard limit, at which the kernel ends the process
            most = round(1e6 * _RTKIT_SPIN_S)
            hard = most if hard == resource.RLIM_INFINITY else min(hard, most)
        soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(resource.RLIMIT_RTTIME, (soft, hard))

    def _unguard(self) -> None:
        import resource

        if self._before is None:
            return
        handler, (soft, _) = self._before
        self._before = None
        hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]  # it cannot be raised again
        soft = soft if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_RTTIME, (soft, hard))
        signal.signal(signal.SIGXCPU, handler)  # type: ignore[arg-type]

    def _lower_all(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        self.spins += 1
        self._lowered_s = time.monotonic()
        for thread in list(self._levels):
            _set_ordinary(thread)

    def take(self, level: Level) -> bool:
        """Give this thread a level; return whether it has one."""
        if not self.granted:
            return False
        thread = threading.get_native_id()
        self._levels[thread] = level
        return self._lowered_s is not None or self._raise(thread, level)

    def leave(self) -> Level | None:
        """Forget this thread, which ends, as its number may become another's; return its level."""
        return self._levels.pop(threading.get_native_id(), None)

    def step_aside(self) -> Level | None:
        """Make this thread ordinary; return the level it had."""
        level = self.leave()
        if level is not None:
            _set_ordinary(threading.get_native_id())
        return level

    def _raise(self, thread: int, level: Level) -> bool:
        grant = _ask_rtkit if self._by_rtkit else _set_fifo
        refused = grant(thread, level)
        if refused:
            self._levels.pop(thread, None)
        return not refused

    def tend(self) -> None:
        """Report threads that spun, and raise them again after a pause; call it at times."""
        if self.spins > self._told_spins:
            self._told_spins = self.spins
            self._tell(
                f"a thread has computed for {SPIN_S:g} s without a rest: no real-time priority "
                f"for {self._pause_s:g} s"
            )
        lowered_s = self._lowered_s
        if lowered_s is None or time.monotonic() - lowered_s < self._pause_s:
            return
        self._pause_s = min(2.0 * self._pause_s, _MOST_PAUSE_S)
        self._limit_spinning()  # the kernel has raised it
        self._lowered_s = None
        for thread, level in list(self._levels.items()):
            self._raise(thread, level)

    def describe(self) -> str:
        """Return how the audio's thread is scheduled."""
        if not self.granted:
            return "ordinary"
        if self._lowered_s is not None:
            return "ordinary (a thread spun)"
        return "real-time (FIFO)" + (", memory locked" if self.locked else "")

    def __exit__(self, *_: object) -> None:
        """Make every thread ordinary again."""
        if threads.asked is not self:
            return
        threads.asked = None
        self.granted = False
        for thread in list(self._levels):
            _set_ordinary(thread)
        self._levels.clear()
        self._unguard()
        if self.locked:
            self.locked = False
            _libc().munlockall()


def refusal_of(level: Level) -> str:
    """Return why the kernel refuses a level to this thread."""
    if not hasattr(os, "sched_setscheduler"):
        return "this system has no SCHED_FIFO"
    before, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:  # with the flag, only privileged processes get rid of it again
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(int(level)))
        os.sched_setscheduler(0, before, parameters)
    except OSError as error:
        return error.strerror or "refused"
    return ""


def locks_memory() -> bool:
    """Return whether this process may lock all memory, also later."""
    if not sys.platform.startswith("linux"):
        return False
    import resource

    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        return True
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_IPC_LOCK & 1)
    return False


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _lock_memory() -> bool:
    if not locks_memory():
        return False
    try:
        return bool(_libc().mlockall(_LOCK_ALL) == 0)
    except (OSError, AttributeError):
        return False


def _set_fifo(thread: int, level: Level) -> str:
    """Return why the kernel refuses; else ""."""
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(thread, policy, os.sched_param(int(level)))
    except OSError as error:
        return error.strerror or "refused"
    return ""


def _set_ordinary(thread: int) -> None:
    # The flag, once set, is cleared by privileged processes only.
    for flag in (0, os.SCHED_RESET_ON_FORK):
        with contextlib.suppress(OSError):  # it has ended
            os.sched_setscheduler(thread, os.SCHED_OTHER | flag, os.sched_param(0))
            return


def has_rtkit() -> bool:
    """Return whether rtkit may be asked."""
    return shutil.which("busctl") is not None and os.path.exists("/run/dbus/system_bus_socket")


def _ask_rtkit(thread: int, level: Level) -> str:
    """Ask rtkit to raise a thread; return why it does not."""
    command = ["busctl", "--system", "call", *_RTKIT, _RTKIT[0], "MakeThreadRealtimeWithPID", "ttu"]
    numbers = [str(os.getpid()), str(thread), str(int(level))]
    try:
        _set_reset_on_fork(thread)
        answer = subprocess.run(
            [*command, *numbers],
            capture_output=True, text=True, timeout=_RTKIT_WAIT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"rtkit does not answer: {error}"
    return "" if answer.returncode == 0 else f"rtkit: {' '.join(answer.stderr.split())}"


def _set_reset_on_fork(thread: int) -> None:
    os.sched_setscheduler(thread, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
