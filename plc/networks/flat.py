"""Models as blocks in memory, which the step reads in place of ONNX (:mod:`.stream.model`)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc.models.manifest import Manifest
from plc.networks.drafts import BridgeDraft, ContourDraft, PassageDraft
from plc.predict.contour import contour_model
from plc.runtime.native import planned
from plc_kernels.network.plan import add_adapters
from plc_kernels.stream.model import MUSIC, SPEECH, SPEECH_BRIDGES, flat_model

_ALIGNED = 64
_SERVES = {
    ContourDraft.names: SPEECH,
    BridgeDraft.ALONG_THE_PITCH: SPEECH_BRIDGES,
    PassageDraft.names: MUSIC,
}
"""By the drafts that a model takes."""


class FlatModels(NamedTuple):
    """Models in memory, one after another, which streams share and nobody writes."""

    names: dict[int, str]
    """By the byte that each begins with."""
    words: NDArray[np.int64]
    """Of their blocks, from a multiple of 64 bytes on."""

    @property
    def address(self) -> int:
        """Where the words lie."""
        return self.words.ctypes.data


def flat_file(manifest: Manifest) -> bytes | None:
    """Return a model as a block; None if it is not one that the step can run.

    Raises
    ------
    ModelError
        If its files are not sound.
    """
    serves = _SERVES.get(manifest.drafts)
    if serves is None or manifest.top_hz is None:
        return None
    found = planned(manifest, manifest.sample_rates[0])
    if found is None:
        return None
    plan, weights, adapters = found
    grid = manifest.horizon_ms, manifest.bin_hz
    contour = None if serves == MUSIC else contour_model()
    weights = add_adapters(weights, adapters)
    return flat_model(serves, plan, weights, contour, manifest.sample_rates, *grid)


_shared: dict[tuple[str, ...], FlatModels | None] = {}
"""By the checksums of the models' files."""


def shared_models(*manifests: Manifest) -> FlatModels | None:
    """Return models, made once in a process; None if one of them has no block.

    Raises
    ------
    ModelError
        If their files are not sound.
    """
    key = tuple(manifest.sha256 for manifest in manifests)
    if key not in _shared:
        blocks = [flat_file(manifest) for manifest in manifests]
        _shared[key] = _joined(manifests, [each for each in blocks if each is not None])
    return _shared[key]


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
