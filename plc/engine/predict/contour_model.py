"""The network that expects the contour of a voice's pitch: a file of the package."""

import importlib.resources
import io
import zlib
from functools import cache
from zipfile import BadZipFile

import numpy as np

from plc.errors import ModelError
from plc_kernels.signal.contour import FEATURES, POINTS, ContourModel

_FILE = "data/contour.npz"


@cache
def contour_model() -> ContourModel:
    """Return the network of the package; ``plc train fit contour`` makes it.

    Raises
    ------
    ModelError
        If its file is missing or not sound.
    """
    file = importlib.resources.files("plc").joinpath(_FILE)
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            found = [arrays[name].astype(np.float32) for name in ContourModel._fields]
        model = ContourModel(*found)
        sound = all(np.isfinite(array).all() for array in model) and _fits(model)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise ModelError(f"cannot read {file}: {error}; install plc again") from error
    if not sound:
        raise ModelError(f"{file} is not a network that expects a pitch; install plc again")
    return model


def _fits(model: ContourModel) -> bool:
    """Return whether one layer's output is the next one's input."""
    wide, narrow = model.enter_bias.size, model.middle_bias.size
    matrices = ((wide, FEATURES), (wide,), (narrow, wide), (narrow,), (POINTS, narrow), (POINTS,))
    return [array.shape for array in model] == [(FEATURES,), (FEATURES,), *matrices]
