"""Sources and sinks of PulseAudio and PipeWire, listed.

PortAudio shows all of them as one device.

Asked is ``pactl``, which both have. A program takes another source or sink than the default by the
environment: ``PULSE_SOURCE`` and ``PULSE_SINK``.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass

_ASK_S = 2.0
_NAMES_MAX = 64


@dataclass(frozen=True, slots=True)
class SoundServer:
    """Names of a sound server's ends.

    Attributes
    ----------
    sources, sinks : tuple of str
        Inputs and outputs, as ``PULSE_SOURCE`` and ``PULSE_SINK`` take them.
    """

    sources: tuple[str, ...]
    sinks: tuple[str, ...]


def ask_sound_server() -> SoundServer | None:
    """Return the devices of the user's sound server; None without an answer."""
    pactl = shutil.which("pactl")
    if pactl is None:
        return None
    sources, sinks = _names(pactl, "sources"), _names(pactl, "sinks")
    return None if sources is None or sinks is None else SoundServer(sources, sinks)


def _names(pactl: str, kind: str) -> tuple[str, ...] | None:
    """Return the names of one kind: the second column of its list."""
    try:
        done = subprocess.run(
            [pactl, "list", "short", kind],
            capture_output=True,
            timeout=_ASK_S,
            check=True,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [line.split("\t") for line in done.stdout.decode(errors="replace").splitlines()]
    return tuple(row[1] for row in rows if len(row) > 1)[:_NAMES_MAX]
