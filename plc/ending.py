"""Signals that end a program, kept until it has ended.

A handler can only raise an exception wherever the program is; in a destructor, a callback from C,
an import or another's ``except`` that is dropped. So a signal is remembered: as soon as its
exception is gone before the program has unwound, it is raised again, and the status is the
signal's, whatever the program returns or raises meanwhile.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

# The last two, and alarms, are unknown to Windows.
_NUMBERS = [getattr(signal, f"SIG{name}", None) for name in ("INT", "TERM", "HUP")]
_ALARM = getattr(signal, "SIGALRM", None)
# How soon it is noticed that the exception is gone.
_LOOK_S = 0.05
# Unwinding is not disturbed by further signals for so long; by Ctrl-C it is.
_UNWINDING_S = 2.0


class Ended(SystemExit, KeyboardInterrupt):
    """A signal came that ends the program."""


class _Signals:
    """Signals that came, and whether the program has unwound."""

    def __init__(self) -> None:
        self.came = 0
        self.is_over = False
        """Whether the program has unwound."""
        self.held = 0
        self.stop = 0  # what ended the last block of stop_signals
        self._is_insisted = False
        self._raised: Any = lambda: None
        self._raised_s = 0.0

    def hear(self, number: int, _frame: object) -> None:
        if number != _ALARM:
            if self.is_over and self.came:
                os._exit(128 + self.came)  # asked a second time, with nothing left to unwind
            self._is_insisted = bool(self.came) and number == signal.SIGINT
            self.came = self.came or number
        self.unwind(number)

    def unwind(self, number: int) -> None:
        """Raise the exception, unless it is under way or has to wait."""
        if self.is_over or (self.held and not self._is_insisted):
            return
        if _ALARM is not None:
            signal.signal(_ALARM, self.hear)
            signal.siginterrupt(_ALARM, False)
            signal.setitimer(signal.ITIMER_REAL, _LOOK_S, _LOOK_S)
        is_late = time.monotonic() - self._raised_s > _UNWINDING_S
        is_urgent = number == signal.SIGINT or (is_late and number != _ALARM)
        if is_urgent or self._raised() is None:
            raise self._exception()  # no name here, by which its traceback would keep it

    def _exception(self) -> Ended:
        ended = Ended(128 + self.came)
        self._raised, self._raised_s = weakref.ref(ended), time.monotonic()
        return ended


_signals = _Signals()


@contextlib.contextmanager
def by_signals() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP unwind the block, which is all of the program.

    Half-written files are removed then, and children ended. The status is 128 and the number of the
    signal, also of one that comes after the block, until the process is gone.
    """
    is_main = threading.current_thread() is threading.main_thread()
    for number in _NUMBERS if is_main else ():
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _signals.hear)
    sys.unraisablehook = _until_one_came
    _signals.is_over = False
    try:
        yield
    finally:
        _signals.is_over = True
        if _signals.came:
            if _ALARM is not None:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
            raise SystemExit(128 + _signals.came)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let signals wait for the end of a block that must not be left half done; not a second Ctrl-C.

    Also Python's own handler of Ctrl-C, in the program of a user.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _signals.came
    pressed: list[int] = []

    def press(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        if len(pressed) > 1:
            signal.default_int_handler(number, frame)

    is_pythons = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    _signals.held += 1
    if is_pythons:
        signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        if is_pythons:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _signals.held -= 1
        if pressed:
            signal.raise_signal(signal.SIGINT)
        if _signals.came != before:
            _signals.unwind(_signals.came)


def _until_one_came(unraisable: Any) -> None:
    """Report an exception that nothing can take; none of objects that a signal left half made."""
    if not _signals.came:
        sys.__unraisablehook__(unraisable)


@atexit.register
def _leave() -> None:
    """Keep the signal's status: imported first, this is the last that is run at the end."""
    if _signals.came:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(128 + _signals.came)
    for number in _NUMBERS:
        if number is not None and signal.getsignal(number) == _signals.hear:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def stop_signals(on_hangup: Callable[[], None] | None = None) -> Iterator[list[int]]:
    """Collect SIGTERM, SIGINT and SIGHUP in a list instead of ending.

    SIGHUP where it is not ignored, as ``nohup`` has it; with ``on_hangup`` that is called instead.
    """
    caught: list[int] = []
    _signals.stop = 0
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    numbers = [signal.SIGTERM, signal.SIGINT]
    hangup = getattr(signal, "SIGHUP", None)  # unknown to Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        numbers.append(hangup)

    def catch(number: int, _frame: object) -> None:
        if number == hangup and on_hangup is not None:
            on_hangup()
        else:
            caught.append(number)

    if on_hangup is not None and hangup is not None and hangup not in numbers:
        numbers.append(hangup)
    before = {number: signal.signal(number, catch) for number in numbers}
    try:
        yield caught
    finally:
        _signals.stop = caught[0] if caught else 0
        for number, handler in before.items():
            signal.signal(number, handler)


def stopped_by() -> int:
    """Return the signal that ended the last block of :func:`stop_signals`; 0 for none."""
    return _signals.stop
