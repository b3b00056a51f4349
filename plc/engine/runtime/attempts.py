"""The first provider that starts and agrees with the CPU.

An attempt is a callable that returns a session or raises :class:`RefusedError`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.manifest import Manifest
from plc.engine.runtime import threads
from plc.engine.runtime.bound import BoundSession
from plc.engine.runtime.engine_cache import EngineCache
from plc.errors import ModelError, in_a_line

# The last words of the message that no provider runs a network.
TELLS = "plc doctor tells what works here"
_WARM_UP_RUNS = 3
"""The first run plans memory, the second uses it; on a GPU the second is captured as a graph."""
# How far a GPU may be from the CPU, as a share of the largest output: sums in another order differ
# by 1e-6 to 1e-4, half precision by 1e-3, a wrong engine by everything.
_PARITY = 1e-3


class RefusedError(Exception):
    """A provider does not serve; the message says why."""


class AbsentError(RefusedError):
    """A provider did not start at all."""


_gpu_since: int | None = None
"""Generation of the process that first used a GPU; CUDA does not work in its children."""


def note_gpu() -> None:
    """Remember that this process is about to use a GPU."""
    global _gpu_since
    _gpu_since = threads.generation if _gpu_since is None else _gpu_since


def open_first(
    names: Sequence[str], open_one: Callable[[str], BoundSession], manifest: Manifest
) -> BoundSession:
    """Return the session of the first provider that serves; its report says why others do not.

    Raises
    ------
    ModelError
        If all providers refuse.
    """
    refused: dict[str, str] = {}
    for name in names:
        if name != "cpu" and _gpu_since not in (None, threads.generation):
            refused[name] = "this process is a fork of one that uses the GPU; CUDA forbids it"
            continue
        try:
            session = open_one(name)
        except RefusedError as error:
            refused[name] = in_a_line(error)[:500]
            continue
        session.report.refused = refused
        return session
    reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
    raise ModelError(
        f"{manifest.onnx_path}: no provider runs it: {reasons or 'none is installed'}; {TELLS}"
    )


def open_with_graph(
    open_it: Callable[[bool], BoundSession], name: str, notes: list[str]
) -> BoundSession:
    """Return a session with captured graphs if they work.

    ``open_it`` is called with whether graphs are captured.
    """
    try:
        session = open_it(True)
    except AbsentError:
        raise
    except RefusedError as error:
        # Graphs are refused where a node has to run on the CPU; the rest still works.
        session = open_it(False)
        notes.append(f"{name} without CUDA graphs: {error}")
        return session
    session.report.cuda_graph = True
    return session


def open_with_engines(
    cache: EngineCache, open_it: Callable[[Path], BoundSession], notes: list[str]
) -> BoundSession:
    """Return a session with kept engines, or new ones if those fail.

    ``open_it`` is called with the folder that TensorRT reads and writes engines in.
    """
    if cache.reason:
        notes.append(f"engines are not kept: {cache.reason}")
    try:
        if cache.holds_engines:
            try:
                session = open_it(cache.begin())
            except RefusedError as error:
                cache.discard()
                notes.append(f"kept engines in {cache.folder} failed, were built again: {error}")
            else:
                session.report.engine_cache = cache.folder if cache.kept else None
                return session
        try:
            session = open_it(cache.begin())
        except RefusedError:
            cache.discard()
            raise
        cache.finish()
        session.report.engine_cache = cache.folder if cache.kept else None
        return session
    finally:
        cache.close()


def prove(session: BoundSession, reference: Callable[[], BoundSession]) -> None:
    """Run a session on noise; compare a GPU's output with the CPU's ``reference``.

    A GPU gets a second input: a captured graph may replay the first one's result.

    Raises
    ------
    RefusedError
        If a run fails, or an output differs.
    """
    proved = session.opened.proved
    if session.signature in proved:
        return
    try:
        for draw in range(2 if session.on_gpu else 1):
            _fill_with_noise(session.inputs, seed=draw)
            for _ in range(_WARM_UP_RUNS if draw == 0 else 1):
                session.run()
            if session.on_gpu:
                _compare(session.output, _expected(reference(), draw))
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(f"fails on {session.signature.inputs}: {error}") from error
    for array in session.inputs:
        array.fill(0.0)
    proved.add(session.signature)


def _expected(reference: BoundSession, draw: int) -> NDArray[np.float32]:
    _fill_with_noise(reference.inputs, seed=draw)
    reference.run()
    return reference.output


def _compare(output: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    scale = float(np.max(np.abs(expected), initial=0.0))
    difference = float(np.max(np.abs(output - expected), initial=0.0))
    if not difference <= _PARITY * scale + 1e-6:
        raise RefusedError(
            f"its output differs from the CPU's by {difference:.3g} where the largest is "
            f"{scale:.3g}"
        )


def _fill_with_noise(arrays: list[NDArray[np.float32]], seed: int) -> None:
    """Write seeded noise from 0 to 1, the range of every input."""
    rng = np.random.default_rng(seed)
    for array in arrays:
        array[...] = rng.random(array.shape, np.float32)
