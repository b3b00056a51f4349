"""Small networks that say of a candidate whether it is damage.

One for each kind of candidate, with two hidden layers, trained by ``plc_training.restore`` on
damage made on purpose and on undamaged recordings, and kept in ``data/damage.npz``.
"""

import functools
import io
import math
import zlib
from dataclasses import dataclass
from importlib import resources
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from plc.errors import ModelError

_FILE = "data/damage.npz"
FEATURE_LIMIT = 4.0
"""Normalised features are kept within this."""
ARRAYS = ("mean", "scale", "enter", "enter_bias", "middle", "middle_bias", "leave")
"""Of each network in the file, by the name ``KIND_ARRAY``."""


# Scores are kept within this.
_SCORE_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Judge:
    """The networks of one kind of candidate; their mean counts.

    Attributes
    ----------
    mean, scale : float32, shape (networks, features)
        Features are normalised by these, and kept within :data:`FEATURE_LIMIT`.
    enter, enter_bias, middle, middle_bias : float32
        Layers, shapes (networks, hidden, inputs) and (networks, hidden).
    leave : float32, shape (networks, hidden + 1)
        Last layer, its bias at the end; 0 is the threshold.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    enter: NDArray[np.float32]
    enter_bias: NDArray[np.float32]
    middle: NDArray[np.float32]
    middle_bias: NDArray[np.float32]
    leave: NDArray[np.float32]

    def confidence(self, features: tuple[float, ...]) -> float:
        """Return how likely a candidate is damage, 0 to 1; 0.5 is the threshold."""
        given = (np.array(features, np.float32) - self.mean) / self.scale
        hidden = np.clip(given, -FEATURE_LIMIT, FEATURE_LIMIT)[:, :, None]
        hidden = np.maximum(self.enter @ hidden + self.enter_bias[:, :, None], 0.0)
        hidden = np.maximum(self.middle @ hidden + self.middle_bias[:, :, None], 0.0)
        scores = np.sum(hidden[:, :, 0] * self.leave[:, :-1], axis=1) + self.leave[:, -1]
        score = float(np.mean(scores))
        return 1.0 / (1.0 + math.exp(-max(-_SCORE_MAX, min(_SCORE_MAX, score))))


@functools.cache
def judge_of(kind: str) -> Judge:
    """Return the package's network for candidates ``"dip"``, ``"repeat"`` or ``"click"``.

    Raises
    ------
    ModelError
        If its file is missing or not sound.
    """
    file = resources.files("plc").joinpath(_FILE)
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            return Judge(*(arrays[f"{kind}_{name}"].astype(np.float32) for name in ARRAYS))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise ModelError(f"cannot read {file}: {error}; install plc again") from error
