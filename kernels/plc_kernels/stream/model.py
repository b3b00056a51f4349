"""A model as one flat file: what C and WebAssembly read in place of ONNX.

It is words (int64) that have names here, then arrays, each at a multiple of 64 bytes:
little-endian, with no address in it, so that it can be mapped, and shared by all streams::

    0            WORDS                                                  model[BYTES] bytes
    | named words | plan | weights | the network that expects a contour …  |

The ONNX file stays the model's source: :func:`flat_model` is given what was read from it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc_kernels.contour import ContourModel
from plc_kernels.network import plan as frames_plan

MAGIC = int.from_bytes(b"plcmodl1", "little")
"""Of this order of words."""
SPEECH_CONTENT = 1
"""It serves what is told to be speech."""

(
    MAGIC_AT,
    BYTES,
    CHECKSUM,
    CONTENT,
    LOWEST_RATE,
    HIGHEST_RATE,
    HORIZON_MS,
    BIN_HZ,
    DRAFTS,
    BINS,
    CONTEXT,
    FRAMES,
    WORK,
    OPERATIONS,
    CONTOUR_WIDE,
    CONTOUR_NARROW,
    N_WEIGHTS,
    PLAN_AT,
    WEIGHTS_AT,
    CONTOUR_AT,
) = range(20)
"""The magic number; bytes of the file; sum of all words behind that one; content; Hz; the horizon
in ms and the distance of bins in Hz, as float64; drafts; bins, frames of context and all frames
of the network; numbers of memory that a run takes; its multiply-adds; layers of the network that
expects a contour; numbers of the weights; and the places of the arrays in bytes. The last is the
first of a word for each array of :class:`~plc_kernels.contour.ContourModel`."""
WORDS = CONTOUR_AT + len(ContourModel._fields)
_ALIGNED = 64


def flat_model(
    plan: NDArray[np.int64],
    weights: NDArray[np.float32],
    contour: ContourModel,
    rates: tuple[int, int],
    horizon_ms: float,
    bin_hz: float,
) -> bytes:
    """Return the file of a causal network for speech, whose drafts follow a contour.

    Parameters
    ----------
    plan, weights
        From :func:`~plc_kernels.network.plan.plan_frames`.
    contour : ContourModel
        What expects the contour.
    rates : (int, int)
        Lowest and highest sample rate in Hz.
    horizon_ms, bin_hz : float
        Longest gap that it fills, and the distance of its bins.
    """
    words = np.zeros(WORDS, np.int64)
    words[[MAGIC_AT, CONTENT, N_WEIGHTS]] = MAGIC, SPEECH_CONTENT, weights.size
    words[[LOWEST_RATE, HIGHEST_RATE]] = rates
    words[[HORIZON_MS, BIN_HZ]] = np.array([horizon_ms, bin_hz]).view(np.int64)
    words[[DRAFTS, BINS, CONTEXT, FRAMES, WORK]] = plan[
        [
            frames_plan.DRAFTS,
            frames_plan.BINS,
            frames_plan.CONTEXT,
            frames_plan.FRAMES,
            frames_plan.WORK,
        ]
    ]
    words[OPERATIONS] = frames_plan.operations(plan)
    words[[CONTOUR_WIDE, CONTOUR_NARROW]] = contour.enter_bias.size, contour.middle_bias.size
    arrays: list[NDArray[Any]] = [plan, weights, *contour]
    parts: list[NDArray[Any]] = [words]
    size = _whole(words.nbytes)
    for word, values in zip(range(PLAN_AT, WORDS), arrays, strict=True):
        words[word] = size
        size = _whole(size + values.nbytes)
        parts.append(np.ascontiguousarray(values))
    words[BYTES] = size
    data = np.zeros(size // 8, np.int64)
    for place, part in zip((0, *words[PLAN_AT:WORDS]), parts, strict=True):
        data.view(np.uint8)[place : place + part.nbytes] = part.view(np.uint8).ravel()
    data[CHECKSUM] = data[CHECKSUM + 1 :].sum()
    return data.tobytes()


def _whole(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
