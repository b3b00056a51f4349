"""Graphs of networks that kernels compute, and their plans from the weights.

A graph is run by kernels only if it is one that they were compared with, to the last node; what
other graphs compute is ONNX Runtime's to know. Weights become int8
(:mod:`plc_kernels.network.product`). A run takes 0.25 to 0.5 ms on one thread (a bridge 1.5 ms),
always the same work.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.manifest import Manifest
from plc.engine.models.onnx_file import read_graph
from plc.engine.runtime.shared import read_weights
from plc_kernels.network.architectures import plan_frames, plan_hybrid
from plc_kernels.network.layers import run_network
from plc_kernels.network.plan import WORK

Planned = tuple[NDArray[np.int64], NDArray[np.float32]]
"""A plan and its weights."""

LISTED = ("causal", "bridge")
"""Kinds of models some graphs of which are known as lists of layers."""

# What the weights do not tell, by the fingerprint of the graph. A new one is entered with
# tests/plc/engine/runtime/test_known.py, which compares the kernels with ONNX Runtime.
KNOWN: dict[str, dict[str, Any]] = {
    # speech
    "370b2c8824d6762612bc4a497928cb7cd7cb47b1c3d96fd7233913d6e8ea27cf": dict(
        context_frames=16, early_frames=6, draft_share=0.25
    ),
    # speech-narrowband
    "85298f088edaf542c0595ba7618a313d4af95686e2da29fc05da424e376a720a": dict(
        context_frames=16, top_bin=False, draft_share=0.25
    ),
    # music
    "8698b588b9d8e429f80744498ba5f4d272e054a718a3045709fc68cd5c8bb2bf": dict(
        context_frames=12, bands=4
    ),
    # speech-bridge
    "887c090e9aa375f39a5ee7a72703b418ce6b94a7f8f505aaa7c6e78cf55ac6bc": dict(
        context_frames=16, context_frames_after=1
    ),
}
# What the exporter calls the tensors of a bridging graph.
_THEIRS = {"spread.weight": "val_527", "places": "view", "times": "view_1"}


def planned(manifest: Manifest, sample_rate: int) -> Planned | None:
    """Return the plan and the weights of a model; None if its graph is not known.

    The manifest was read from a file, beside which the weights lie; the rate is in Hz.

    Raises
    ------
    ModelError
        If the files are not sound.
    UnfitError
        If the weights do not fit the sizes.
    """
    graph = read_graph(read_weights(manifest), str(manifest.onnx_path))
    known = KNOWN.get(graph.fingerprint, {})
    bridges = "context_frames_after" in known
    contexts = known.get("context_frames"), known.get("context_frames_after", 0)
    fits = "bridge" if bridges else "causal", *contexts
    if fits != (manifest.kind, manifest.context_frames, manifest.context_frames_after):
        return None
    grid = {"bins": manifest.bins(sample_rate), "frames": manifest.frames(sample_rate)}
    sizes = {"drafts": len(manifest.drafts)} | grid | known
    tensors = dict(graph.weights())
    if not bridges:
        return plan_frames(tensors, **sizes)
    tensors |= {ours: tensors[theirs] for ours, theirs in _THEIRS.items() if theirs in tensors}
    for ramp in {"places", "times"} & set(tensors):
        tensors[ramp] = tensors[ramp].ravel()
    return plan_hybrid(tensors, **sizes)


class KernelNetwork:
    """A network by itself, as the steps of streams run it; used by one thread at a time."""

    def __init__(self, found: Planned) -> None:
        self._plan, self._weights = found
        self._work = np.zeros(self._plan[WORK], np.float32)

    def run(
        self, spectra: NDArray[np.float32], lost: NDArray[np.float32], out: NDArray[np.float32]
    ) -> bool:
        """Write ``out``, arrays as for :class:`~plc.engine.runtime.onnx_network.GapNetwork`."""
        given = spectra.ravel(), lost.ravel(), self._work, out.ravel()
        run_network(self._plan, self._weights, *given)
        return True
