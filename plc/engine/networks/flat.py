"""Models as blocks in memory, which the step reads in place of ONNX (:mod:`.stream.model`)."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.manifest import Manifest
from plc.engine.predict.contour_model import contour_model
from plc.engine.runtime.known import planned
from plc.errors import ModelError
from plc_kernels.network.plan import BINS, CONTEXT, DRAFTS, FRAMES, HEAD, TOUCHING
from plc_kernels.stream.model import MUSIC, SPEECH, SPEECH_BRIDGES, flat_model

_ALIGNED = 64
SPEECH_DRAFTS = ("contour", "ar_contour")
MUSIC_DRAFTS = ("passages", "joined")
BRIDGE_DRAFTS = ("contour_forward", "contour_backward", "contour_bridge")
"""What streams draft, as manifests name it: bursts of speech, of music, and gaps whose end has
arrived."""
_SERVES = {SPEECH_DRAFTS: SPEECH, BRIDGE_DRAFTS: SPEECH_BRIDGES, MUSIC_DRAFTS: MUSIC}


class FlatModels(NamedTuple):
    """Models in memory, one after another, which streams share and nobody writes."""

    names: dict[int, str]
    """By the byte that each begins with."""
    words: NDArray[np.int64]
    """Of their blocks, from a multiple of 64 bytes on."""

    @property
    def address(self) -> int:
        """The address of the file's words in memory."""
        return self.words.ctypes.data


def flat_file(manifest: Manifest, outside_at: int = 0) -> bytes | None:
    """Return a model as a block; None if no kernels compute its forward pass.

    Parameters
    ----------
    manifest : Manifest
        Read from a file; the weights lie beside it.
    outside_at : int
        0; or the rate in Hz of streams that have its forward pass computed outside the step: the
        block then has sizes and no weights.

    Raises
    ------
    ModelError
        If its files are not sound, or a stream makes no such drafts.
    """
    serves = _SERVES.get(manifest.drafts)
    if serves is None or (manifest.kind == "bridge") != (serves == SPEECH_BRIDGES):
        made = " or ".join(", ".join(drafts) for drafts in _SERVES)
        raise ModelError(
            f"model {manifest.name} is {manifest.kind} and takes the drafts "
            f"{', '.join(manifest.drafts)}; a stream makes {made}, these for one that is bridge: "
            "train and export it with these"
        )
    if outside_at:
        found: Any = _sizes(manifest, outside_at), np.zeros(0, np.float32)
    else:
        found = planned(manifest, manifest.sample_rates[0]) if manifest.top_hz else None
    if found is None:
        return None
    plan, weights = found
    grid = manifest.horizon_ms, manifest.bin_hz
    contour = None if serves == MUSIC else contour_model()
    return flat_model(serves, plan, weights, contour, manifest.sample_rates, *grid)


def _sizes(manifest: Manifest, sample_rate: int) -> NDArray[np.int64]:
    frames, context = manifest.frames(sample_rate), manifest.context_frames
    plan = np.zeros(HEAD, np.int64)
    plan[[DRAFTS, BINS]] = len(manifest.drafts), manifest.bins(sample_rate)
    plan[[CONTEXT, FRAMES]] = context, frames
    plan[TOUCHING] = frames - context - manifest.context_frames_after
    return plan


_shared: dict[tuple[Any, ...], FlatModels | None] = {}
"""By what the blocks follow from."""


def shared_models(*manifests: Manifest, outside_at: int = 0) -> FlatModels | None:
    """Return models, made once in a process; None if one of them has no block.

    ``outside_at`` as for :func:`flat_file`, which raises the same errors.
    """
    key = (outside_at, *map(_identity, manifests))
    if key not in _shared:
        blocks = [flat_file(manifest, outside_at) for manifest in manifests]
        _shared[key] = _joined(manifests, [each for each in blocks if each is not None])
    return _shared[key]


def _identity(manifest: Manifest) -> tuple[Any, ...]:
    """Return the fields of a manifest that decide its block: manifests may share a graph."""
    contexts = manifest.context_frames, manifest.context_frames_after
    grid = manifest.bin_hz, manifest.top_hz, manifest.horizon_ms
    return (manifest.sha256, manifest.drafts, manifest.sample_rates, *contexts, *grid)


def _joined(manifests: tuple[Manifest, ...], blocks: list[bytes]) -> FlatModels | None:
    if len(blocks) < len(manifests):
        return None
    data = b"".join(blocks)
    places = np.cumsum([0, *map(len, blocks)]).tolist()
    memory = np.empty(len(data) + _ALIGNED, np.uint8)
    begin = -memory.ctypes.data % _ALIGNED
    aligned = memory[begin : begin + len(data)]
    aligned[:] = np.frombuffer(data, np.uint8)
    words = aligned.view(np.int64)
    words.flags.writeable = False
    names = {place: each.name for place, each in zip(places, manifests, strict=False)}
    return FlatModels(names, words)
