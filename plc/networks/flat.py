"""Models as flat files, which the compiled step reads in place of ONNX (:mod:`.stream.model`)."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc.models.catalogue import find
from plc.models.manifest import Manifest
from plc.networks.drafts import BridgeDraft, ContourDraft, PassageDraft
from plc.predict.contour import contour_model
from plc.runtime.native import planned
from plc_kernels.stream.model import MUSIC, SPEECH, SPEECH_BRIDGES, flat_model

_ALIGNED = 64
_SERVES = {
    ContourDraft.names: SPEECH,
    BridgeDraft.ALONG_THE_PITCH: SPEECH_BRIDGES,
    PassageDraft.names: MUSIC,
}
"""By the drafts that a model takes."""


class FlatModel(NamedTuple):
    """A model of the package in memory, which streams share and nobody writes."""

    name: str
    words: NDArray[np.int64]
    """Of its flat file, from a multiple of 64 bytes on."""

    @property
    def address(self) -> int:
        """Where the words lie."""
        return self.words.ctypes.data


def flat_file(manifest: Manifest) -> bytes | None:
    """Return a model as a flat file; None if it is not one that C can run.

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
    grid = manifest.horizon_ms, manifest.bin_hz
    contour = None if serves == MUSIC else contour_model()
    return flat_model(serves, *found, contour, manifest.sample_rates, *grid)


@cache
def shared_model(name: str) -> FlatModel | None:
    """Return a model of the package, made once in a process; None if it has no flat file.

    Raises
    ------
    ModelError
        If there is no such model, or its files are not sound.
    """
    data = flat_file(find(name))
    if data is None:
        return None
    memory = np.empty(len(data) + _ALIGNED, np.uint8)
    begin = -memory.ctypes.data % _ALIGNED
    aligned = memory[begin : begin + len(data)]
    aligned[:] = np.frombuffer(data, np.uint8)
    words = aligned.view(np.int64)
    words.flags.writeable = False
    return FlatModel(name, words)
