"""Graphs of networks that kernels compute, and their plans from the weights.

A graph is run by kernels only if it is one that they were compared with, to the last node; what
other graphs compute is ONNX Runtime's to know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.manifest import Manifest
from plc.engine.models.onnx_file import Graph, read_graph
from plc.engine.runtime.weights import read_weights
from plc_kernels.network import hybrid_plan
from plc_kernels.network import plan as frames_plan
from plc_kernels.network.frames import run_frames
from plc_kernels.network.hybrid import run_hybrid
from plc_kernels.network.hybrid_plan import HybridSizes, plan_hybrid
from plc_kernels.network.plan import FramesSizes, Tensors, plan_frames

Planned = tuple[NDArray[np.int64], NDArray[np.float32]]
"""A plan and its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A graph that kernels compute."""

    kind: str
    context_frames: int
    context_frames_after: int = 0
    kernel: Any
    plan: Callable[[Tensors, int, int, int], Planned]
    """Takes tensors by name, drafts, bins and frames."""
    work: int
    """Word of the plan that says how much memory a run takes."""


def _frames(context_frames: int, **sizes: Any) -> _Known:
    """Return a causal graph of sizes as :class:`FramesSizes` has them."""

    def plan(tensors: Tensors, drafts: int, bins: int, frames: int) -> Planned:
        given = FramesSizes(
            drafts=drafts, bins=bins, frames=frames, context_frames=context_frames, **sizes
        )
        return plan_frames(tensors, given)

    return _Known(
        kind="causal",
        context_frames=context_frames,
        kernel=run_frames,
        plan=plan,
        work=frames_plan.WORK,
    )


def _hybrid(context_frames: int, context_frames_after: int, names: dict[str, str]) -> _Known:
    """Return a bridging graph; ``names`` are those that it has for some tensors."""

    def plan(tensors: Tensors, drafts: int, bins: int, frames: int) -> Planned:
        named = {ours: tensors[theirs] for ours, theirs in names.items() if theirs in tensors}
        for ramp in {"places", "times"} & set(named):
            named[ramp] = named[ramp].ravel()
        sizes = HybridSizes(
            drafts=drafts,
            bins=bins,
            frames=frames,
            context_frames=context_frames,
            context_frames_after=context_frames_after,
        )
        return plan_hybrid({**tensors, **named}, sizes)

    return _Known(
        kind="bridge",
        context_frames=context_frames,
        context_frames_after=context_frames_after,
        kernel=run_hybrid,
        plan=plan,
        work=hybrid_plan.WORK,
    )


# By the fingerprint of the graph. A new one is entered with
# tests/plc/engine/runtime/test_native.py, which compares the kernels with ONNX Runtime.
KNOWN: dict[str, _Known] = {
    "370b2c8824d6762612bc4a497928cb7cd7cb47b1c3d96fd7233913d6e8ea27cf": _frames(  # speech
        context_frames=16, early_frames=6, draft_share=0.25
    ),
    "bfba0923f4f70dbf9c6afce7e32906d5d52775b515f18198d20f1da185403e7f": _frames(
        context_frames=16, draft_share=0.25
    ),  # the same before it has early adapters
    "85298f088edaf542c0595ba7618a313d4af95686e2da29fc05da424e376a720a": _frames(
        context_frames=16,
        top_bin=False,
        draft_share=0.25,  # speech-narrowband
    ),
    "8698b588b9d8e429f80744498ba5f4d272e054a718a3045709fc68cd5c8bb2bf": _frames(  # music
        context_frames=12, bands=4
    ),
    "887c090e9aa375f39a5ee7a72703b418ce6b94a7f8f505aaa7c6e78cf55ac6bc": _hybrid(  # speech-bridge
        context_frames=16,
        context_frames_after=1,
        names={"spread.weight": "val_527", "places": "view", "times": "view_1"},
    ),
}


def planned(manifest: Manifest, sample_rate: int) -> Planned | None:
    """Return the plan and the weights of a model; None if its graph is not known.

    Parameters
    ----------
    manifest : Manifest
        Read from a file; the weights lie beside it.
    sample_rate : int
        In Hz.

    Raises
    ------
    ModelError
        If the files are not sound.
    """
    graph, known = read_known(manifest)
    if known is None:
        return None
    sizes = len(manifest.drafts), manifest.bins(sample_rate), manifest.frames(sample_rate)
    return known.plan(graph.weights(), *sizes)


def read_known(manifest: Manifest) -> tuple[Graph, _Known | None]:
    """Read a network; return also what is known of its graph."""
    graph = read_graph(read_weights(manifest), str(manifest.onnx_path))
    known = KNOWN.get(graph.fingerprint)
    return graph, known if known is not None and _is_of(manifest, known) else None


def _is_of(manifest: Manifest, known: _Known) -> bool:
    """Return whether a manifest fits a known graph, where the graph leaves it open."""
    contexts = known.context_frames, known.context_frames_after
    return manifest.kind == known.kind and contexts == (
        manifest.context_frames,
        manifest.context_frames_after,
    )
