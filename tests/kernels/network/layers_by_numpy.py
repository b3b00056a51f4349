"""Layers in NumPy and float64, with weights as the kernels hold them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Wide = NDArray[np.float64]


def rounded(weight: NDArray[Any]) -> Wide:
    """Return weights, outputs first, rounded to 127 steps of the largest one of each output."""
    wide = weight.astype(np.float64).reshape(len(weight), -1)
    scale = np.abs(wide).max(axis=1, keepdims=True) / 127.0
    made: Wide = (np.rint(wide / scale) * scale).reshape(weight.shape)
    return made


def sigmoid(x: Wide) -> Wide:
    made: Wide = 1.0 / (1.0 + np.exp(-x))
    return made


def recurrent(x: Wide, tensors: dict[str, NDArray[Any]], name: str, direction: int = 0) -> Wide:
    """Return the states of a GRU, shape (frames, units); ``x`` has frames first."""
    w, r = (rounded(tensors[f"{name}.{key}"][direction]) for key in ("inputs", "recurrent"))
    given, own = tensors[f"{name}.biases"][direction].astype(np.float64).reshape(2, -1)
    units = r.shape[1]
    state, states = np.zeros(units), []
    for row in x[::-1] if direction else x:
        a, b = w @ row + given, r @ state + own
        keep, reset = sigmoid((a + b)[: 2 * units]).reshape(2, -1)
        state = (1.0 - keep) * np.tanh(a[2 * units :] + reset * b[2 * units :]) + keep * state
        states.append(state)
    return np.array(states[::-1] if direction else states)
