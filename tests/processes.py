"""Programs of this checkout in processes of their own."""

import os
import signal
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment() -> dict[str, str]:
    """Return what a process needs to find the checkout rather than an installed package."""
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"}


def hear_signals() -> None:
    """Take Ctrl-C and hang-ups as a program in a terminal does, as a ``preexec_fn``.

    What starts in the background of a script, or under ``nohup``, inherits that they are ignored.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
