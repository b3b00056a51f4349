"""Examine this machine, for ``plc doctor``.

Everything is looked up or tried, nothing assumed: the first-in-first-out scheduler is asked for and
given back, start-up is timed in a process of its own, the ladders are those that the engine
calibrates here and now.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from plc.engine.runtime.priority import ADVICE, locks_memory, refusal_of
from plc.engine.runtime.threads import Level
from plc.errors import PlcError, in_a_line
from plc.extras import install_command
from plc.jsonable import to_json
from plc.processor_time import cpu_name, usable_cores
from plc.programs.doctor_networks import NetworkHealth, examine_networks, network_facts

# Distribution and its purpose; the first ones always are.
NEEDED = ("numpy", "soundfile", "typer", "rich")
OPTIONAL = {
    "numba": "compiles the kernels, where the package brings no machine code",
    "matplotlib": f"the picture of plc demo: {install_command('plots')}",
    "av": f"AAC, M4A, WMA, video: {install_command('media')}",
    "onnxruntime": f"networks of files on a CPU: {install_command('cpu')}",
    "onnxruntime-gpu": f"networks on a GPU: {install_command('gpu')}",
    "sounddevice": f"live audio: {install_command('live')}",
}
# Sample rate in Hz, channels, packet in ms: what streams commonly are.
FORMATS = (
    (48_000, 1, 10.0),
    (48_000, 2, 10.0),
    (48_000, 8, 10.0),
    (48_000, 1, 20.0),
    (16_000, 1, 20.0),
    (8_000, 1, 20.0),
)

_START = """
import time
begin_s = time.perf_counter()
from plc import Concealer
Concealer(sample_rate=48000, channels=2, packet_samples=480).push(None)
print(time.perf_counter() - begin_s)
"""
_START_TIMEOUT_S = 900.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Folder of compiled kernels, and its state."""

    folder: str | None
    """None where numba found no place: every process then compiles anew."""
    writable: bool
    kernels: int
    """Kernels that streams, buffers and receivers may call."""
    compiled: int
    """Of these, those whose machine code is in the cache or the package, and up to date."""
    prebuilt: str | None
    """For which level of processors the package brings it, if it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealTime:
    """Real-time rights that the operating system grants to a thread."""

    fifo_scheduler: bool
    fifo_hint: str
    memory_lock: bool
    """Whether all memory may be locked."""
    flush_to_zero: bool
    """Whether tiny numbers can be rounded to zero, without which silence is slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Rungs that the engine chooses for one format, by its calibration."""

    format: str
    budget_ms: float
    rungs: dict[str, list[dict[str, Any]]]
    """The rungs that fit the budget, the best first, by kind of content: each with its order,
    the past it is fitted on and its cost in ms for all channels."""
    networks: dict[str, dict[str, Any]]
    """The networks by kind of content, as :meth:`plc.Concealer.describe` has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """All findings; a non-empty ``problems`` means that ``plc`` cannot conceal here."""

    python: str
    system: str
    cpu: str
    cores: int
    versions: dict[str, str | None]
    network: NetworkHealth
    cache: Cache
    real_time: RealTime
    warm_up_s: float | None
    """Time that filling the cache took, if it was asked for."""
    start_s: float | None
    """Import, construction and a first lost packet in a new process, with the cache as it is."""
    ladders: tuple[Ladder, ...]
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name, for JSON."""
        described: dict[str, Any] = json.loads(to_json(self))
        return described


def examine(*, warm: bool = False, progress: Progress | None = None) -> Health:
    """Examine this machine and return the findings.

    Parameters
    ----------
    warm : bool
        Compile every kernel into the cache first.
    progress : callable, optional
        Called with the name of each step.
    """
    tell = progress or (lambda what: None)
    problems: list[str] = []
    warm_up_s = None
    if warm:
        tell("compiling kernels")
        warm_up_s = _warm_up(problems)
    tell("timing a start")
    start_s = _start_s(problems)
    tell("calibrating ladders")
    ladders = _ladders(problems)
    network = examine_networks(progress=tell)
    problems += network.problems
    versions = {name: _version(name) for name in (*NEEDED, *OPTIONAL)}
    problems += [f"{name} is not installed" for name in NEEDED if versions[name] is None]
    return Health(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu_name(),
        cores=usable_cores(),
        versions=versions,
        network=network,
        cache=_cache(),
        real_time=_real_time(),
        warm_up_s=warm_up_s,
        start_s=start_s,
        ladders=ladders,
        problems=tuple(problems),
    )


def _warm_up(problems: list[str]) -> float | None:
    begin_s = time.perf_counter()
    try:
        from plc import warm_up

        warm_up()
    except (PlcError, OSError, RuntimeError, ImportError) as error:
        problems.append(f"kernels do not compile: {in_a_line(error)}")
        return None
    return time.perf_counter() - begin_s


def _start_s(problems: list[str]) -> float | None:
    """Return the time to the first concealed packet in a new process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        run = subprocess.run(
            [sys.executable, "-c", _START],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_START_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        problems.append(f"a new process does not start: {in_a_line(error)}")
        return None
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        problems.append(f"a new process fails: {last}")
        return None
    return float(run.stdout)


def _ladders(problems: list[str]) -> tuple[Ladder, ...]:
    ladders = []
    for sample_rate, channels, packet_ms in FORMATS:
        name = f"{sample_rate / 1000:g} kHz, {channels} ch, {packet_ms:g} ms"
        try:
            from plc import Concealer

            concealer = Concealer(
                sample_rate=sample_rate,
                channels=channels,
                packet_samples=round(sample_rate * packet_ms / 1000),
            )
            found = concealer.describe()
            concealer.close()
        except (PlcError, RuntimeError, ImportError) as error:
            problems.append(f"{name}: {in_a_line(error)}")
            continue
        ladders.append(
            Ladder(
                format=name,
                budget_ms=found["budget_ms"],
                rungs=found["ladders"],
                networks=found["networks"],
            )
        )
    return tuple(ladders)


def _cache() -> Cache:
    from plc.engine.stream.warm import cache_folder, compiled
    from plc.transport.rtp.pieces import WARM_UPS
    from plc_kernels.build.library import LEVEL

    folder = cache_folder()
    kernels = tuple(kernel for warm in WARM_UPS for kernel in warm.kernels)
    return Cache(
        folder=None if folder is None else str(folder),
        writable=folder is not None and _writable(folder),
        kernels=len(kernels),
        compiled=compiled(kernels),
        prebuilt=LEVEL,
    )


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _flush_to_zero() -> bool:
    import numpy as np

    from plc_kernels.build.denormals import flush_denormals, restore_denormals

    tiny = np.full(1, 1e-30, np.float32)
    before = flush_denormals()
    product = tiny * np.float32(1e-10)
    restore_denormals(before)
    return not product[0]


def _real_time() -> RealTime:
    """Ask for the real-time scheduler and give it back; look at the other rights."""
    refusal = refusal_of(Level.AUDIO)
    return RealTime(
        fifo_scheduler=not refusal,
        fifo_hint=f"{refusal}; {ADVICE}" if refusal else "",
        memory_lock=locks_memory(),
        flush_to_zero=_flush_to_zero(),
    )


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def facts(health: Health) -> list[tuple[str, str]]:
    """Return the findings without the ladders as (name, text)."""
    cache, real_time = health.cache, health.real_time
    lines = [
        ("python", f"{health.python}, {health.system}"),
        ("processor", f"{health.cpu}, {health.cores} cores for this process"),
    ]
    lines += [(name, health.versions[name] or "not installed") for name in NEEDED]
    lines += [(name, health.versions[name] or f"absent; {OPTIONAL[name]}") for name in OPTIONAL]
    lines += network_facts(health.network)
    state = "writable" if cache.writable else "NOT writable: set NUMBA_CACHE_DIR to a folder"
    if cache.prebuilt:
        lines.append(("kernels", f"the package's machine code, for {cache.prebuilt}"))
    else:
        lines.append(("kernel cache", f"{cache.folder or 'none'} ({state})"))
        warm = "" if cache.compiled == cache.kernels else "; plc doctor --warm compiles the rest"
        lines.append(("kernels compiled", f"{cache.compiled} of {cache.kernels}{warm}"))
    fifo = "granted" if real_time.fifo_scheduler else f"refused: {real_time.fifo_hint}"
    lines.append(("real-time scheduler", fifo))
    lock = "allowed" if real_time.memory_lock else "refused: LimitMEMLOCK=infinity, or ulimit -l"
    lines.append(("locked memory", lock))
    lines.append(("flush to zero", "works" if real_time.flush_to_zero else "not on this processor"))
    for name, seconds in (
        ("warming up took", health.warm_up_s),
        ("start, cache as it is", health.start_s),
    ):
        if seconds is not None:
            lines.append((name, f"{seconds:.2f} s"))
    return lines


def ladder_text(ladder: Ladder) -> str:
    """Return a ladder as text: first rung, its cost, and the networks."""
    lines = []
    for content, rungs in ladder.rungs.items():
        first = rungs[0]
        lines.append(
            f"{content}: order {first['order']} on {first['past_samples']} samples, "
            f"{first['cost_ms']:.2f} ms; {len(rungs) - 1} cheaper"
        )
    for content, network in ladder.networks.items():
        line = f"{content}: network {network['model']}"
        if "cost_ms" in network:
            line += f", {network['cost_ms']:.2f} ms"
        if "why" in network:
            line += f": left out, {network['why']}"
        elif network["mode"] == "left out":
            line += ": too slow here, left out"
            if "budget_ms" in network:
                line += f"; budget_ms={network['budget_ms']:g} would do"
        lines.append(line)
    return "\n".join(lines)
