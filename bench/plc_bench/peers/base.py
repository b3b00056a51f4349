"""The interface of a peer; programs, and libraries of the system, as peers."""

import ctypes
import ctypes.util
import os
import signal as signals
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from plc.errors import PlcError
from plc.programs import rivals
from plc_bench.base.corpus import Samples
from plc_bench.scores.metrics import Mask

# A peer that takes longer than this for one clip counts as hung.
PEER_TIMEOUT_S = 60.0
# Characters of a failed program's last line in a reason.
_REASON_CHARACTERS = 200


class PeerError(PlcError):
    """A peer crashed, hung, or wrote invalid output."""


class Contender(Protocol):
    """Something that plays a stream in which packets are lost."""

    @property
    def coded(self) -> bool:
        """True if it codes the audio: it gets the intact signal and loses packets itself."""

    def play(self, signal: Samples, trace: Mask, packet_samples: int, sample_rate: int) -> Samples:
        """Play the stream.

        Parameters
        ----------
        signal : float32, shape (n, channels)
            Whole packets. Zero where a packet is lost, unless the contender is coded.
        trace : bool, shape (packets,), True = lost
        packet_samples, sample_rate : int, of the stream

        Returns
        -------
        float32, shape of ``signal``
            Aligned with it: a delay is taken out.
        """


@dataclass(frozen=True, slots=True)
class Simple:
    """One of :data:`~plc.engine.stream.methods.BASELINES`, in a loop over the losses."""

    coded = False
    method: str

    def play(self, signal: Samples, trace: Mask, packet_samples: int, sample_rate: int) -> Samples:
        """Play the stream."""
        return rivals.play(self.method, signal, trace, packet_samples, sample_rate)


def run_program(words: Sequence[str], timeout_s: float) -> None:
    """Run a program; kill it and its children after a timeout.

    Raises
    ------
    PeerError
        If it cannot be started, takes too long, or ends with another status than 0.
    """
    try:
        process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that it can be killed with all that it started
        )
    except OSError as error:
        raise PeerError(f"cannot run {words[0]}: {error.strerror}") from error
    with process:
        try:
            _, said = process.communicate(timeout=timeout_s)
        except BaseException as error:
            os.killpg(process.pid, signals.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise PeerError(f"took longer than {timeout_s:g} s") from None
            raise
    if process.returncode:
        status = process.returncode
        how = f"died of {signals.Signals(-status).name}" if status < 0 else f"ended with {status}"
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise PeerError(": ".join([how, *last])[:_REASON_CHARACTERS])


@lru_cache
def load(name: str, package: str) -> ctypes.CDLL:
    """Return a shared library by the linker's name or a path; PeerError names its package."""
    path = name if "/" in name else ctypes.util.find_library(name)
    if path is None:
        raise PeerError(f"lib{name} is not installed: apt-get install {package}")
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise PeerError(f"cannot load {path}: {error}; Debian has it in {package}") from error
