"""Signals wherever a program is: their exception is dropped there, and still it ends."""

import signal
import subprocess
import sys

import pytest

from tests.examples import some
from tests.processes import environment, hear_signals

PROGRAM = """
import atexit, contextlib, ctypes, gc, os, signal, sys, time
from plc.ending import by_signals, held

def strike():
    os.kill(os.getpid(), {number})
    for _ in range(100):
        pass

class Dying:
    def __del__(self):
        strike()

class HalfMade:
    def __init__(self):
        strike()
        self.made = True

    def __del__(self):
        return self.made

@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def compared(one, other):
    strike()
    return 0

def swallowed():
    try:
        strike()
    except BaseException:
        pass

with by_signals():
    {where}
    for _ in range(300):
        time.sleep(0.01)
    print("goes on")
"""
PLACES = {
    "destructor": "Dying()",
    "constructor": "HalfMade()",
    "cycle": "each = Dying(); each.cycle = each; del each; gc.collect()",
    "callback from C": "ctypes.CDLL(None).qsort((ctypes.c_int * 2)(2, 1), 2, 4, compared)",
    "except": "swallowed()",
    "suppress": "\n    with contextlib.suppress(BaseException):\n        strike()",
    "another error": "\n    try:\n        strike()\n    except BaseException as error:\n"
    "        raise ValueError('other') from error",
    "held": "\n    with held():\n        strike()\n        print('whole')",
    "held, twice": "\n    with held():\n        strike()\n        strike()\n        print('whole')",
    "twice": "\n    try:\n        strike()\n    finally:\n        strike()\n        print('whole')",
}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=hear_signals,
    )


@some("place", PLACES, 10)
@some("number", SIGNALS)
def test_a_signal_ends_a_program_wherever_its_exception_is_dropped(
    number: signal.Signals, place: str
) -> None:
    done = run(PROGRAM.format(number=int(number), where=PLACES[place]))
    assert (done.returncode, done.stderr) == (128 + number, "")
    # Who presses Ctrl-C again does not want to wait.
    unwound_whole = place == "held" or ("twice" in place and number != signal.SIGINT)
    assert done.stdout == ("whole\n" if unwound_whole else "")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_after_the_work_gives_its_status_and_runs_what_is_due_at_the_end(
    number: signal.Signals,
) -> None:
    late = "atexit.register(print, 'second'); atexit.register(strike); print('first')"
    program = PROGRAM.format(number=int(number), where=late).replace("range(300)", "range(0)")
    done = run(program)
    assert (done.returncode, done.stderr) == (128 + number, "")
    assert done.stdout.split() == ["first", "goes", "on", "second"]


def test_a_program_without_a_signal_keeps_its_status_and_its_other_errors() -> None:
    program = PROGRAM.format(number=0, where="sys.exit(7)")
    assert run(program).returncode == 7
    program = PROGRAM.format(number=0, where="Dying.__del__ = lambda self: 1 / 0; Dying()")
    done = run(program.replace("range(300)", "range(1)"))
    assert done.returncode == 0
    assert "Exception ignored in" in done.stderr
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(("place", "said"), [("held", "whole\n"), ("held, twice", "")])
def test_python_s_own_interrupt_waits_for_the_end_of_a_held_block_and_its_second_ends_it(
    place: str, said: str
) -> None:
    program = PROGRAM.replace("with by_signals():", "if True:").format(
        number=int(signal.SIGINT), where=PLACES[place]
    )
    done = run(program)
    assert done.stdout == said
    assert "KeyboardInterrupt" in done.stderr
