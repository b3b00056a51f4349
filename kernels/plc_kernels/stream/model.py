"""A model in memory, which C and WebAssembly have in place of an ONNX file.

It is a block of words (int64) that have names here, then arrays, each at a multiple of 64 bytes:
little-endian, with no address in it, so that it can be moved, and shared by all streams::

    0            WORDS                                                  model[BYTES] bytes
    | named words | plan | weights | the network that expects a contour …  |

Blocks may follow one another: a stream takes those that are for its content and rate.

The ONNX file stays the model's source: :func:`flat_model` is given its plan and weights. The
file from which the block is made is hardly shorter (:mod:`~plc_kernels.stream.model_file`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc_kernels.network import plan as network
from plc_kernels.signal.contour import FEATURES, POINTS, ContourModel
from plc_kernels.stream.arrays import BlockTable

MAGIC = int.from_bytes(b"plcmodl2", "little")
"""The first word: a block of this order of words."""
SPEECH, SPEECH_BRIDGES, MUSIC = 1, 2, 3
"""It serves what is told to be speech, bursts or gaps whose end has arrived; or bursts of music,
and of speech where there is no other."""
BURST_DRAFTS, BRIDGE_DRAFTS = 2, 3
"""Drafts of a burst, and of a gap whose end has arrived."""

_table = BlockTable()
_word = _table.word
MAGIC_AT = _word("The magic number: MAGIC.")
BYTES = _word("Bytes of the block.")
CHECKSUM = _word("Sum of all words behind this one.")
CONTENT = _word("What it serves: SPEECH, SPEECH_BRIDGES or MUSIC.")
LOWEST_RATE = _word("Lowest sample rate that it serves, in Hz.")
HIGHEST_RATE = _word("Highest one.")
HORIZON_MS = _word("Longest gap that it fills, in ms; float64.")
BIN_HZ = _word("Distance of its bins in Hz; float64.")
DRAFTS = _word("Drafts of a channel that it takes: first of the sizes that a plan begins with.")
BINS = _word("Bins of a frame.")
CONTEXT = _word("Frames of context before the gap.")
FRAMES = _word("All of its frames.")
TOUCHING = _word("Frames that it makes: those that touch the gap.")
WORK = _word("Numbers of memory (float32) that a run takes.")
OPERATIONS = _word("Multiply-adds of a run.")
CONTOUR_WIDE = _word("Units in the first layer of what expects a contour; 0: there is none.")
CONTOUR_NARROW = _word("Units in its second layer.")
N_PLAN = _word("Words of the plan.")
N_WEIGHTS = _word("Numbers of the weights (float32).")
PLAN_AT = _word("Place of the plan, in bytes.")
WEIGHTS_AT = _word("Place of the weights, in bytes.")
CONTOUR_AT = _word(
    "First of the places of the arrays of `contour.ContourModel`.", len(ContourModel._fields)
)
WORDS = _table.next
_ALIGNED = 64


def flat_model(
    serves: int,
    plan: NDArray[np.int64],
    weights: NDArray[np.float32],
    contour: ContourModel | None,
    rates: tuple[int, int],
    horizon_ms: float,
    bin_hz: float,
) -> bytes:
    """Return the block of a network of streams.

    Parameters
    ----------
    serves : int, one of the constants of the module
    plan, weights
        A network (:mod:`plc_kernels.network.plan`).
    contour : ContourModel or None
        What expects the contour that drafts of speech follow; None for music.
    rates : (int, int), lowest and highest sample rate in Hz
    horizon_ms, bin_hz : float
        Longest gap that it fills, and the distance of its bins.
    """
    words = np.zeros(WORDS, np.int64)
    words[[MAGIC_AT, CONTENT, N_PLAN, N_WEIGHTS]] = MAGIC, serves, plan.size, weights.size
    words[[LOWEST_RATE, HIGHEST_RATE]] = rates
    words[[HORIZON_MS, BIN_HZ]] = np.array([horizon_ms, bin_hz]).view(np.int64)
    given: list[NDArray[Any]] = [np.zeros(0)] * len(ContourModel._fields)
    if contour is not None:
        given = list(contour)
        sizes = contour.enter_bias.size, contour.middle_bias.size
        words[[CONTOUR_WIDE, CONTOUR_NARROW]] = sizes
    words[DRAFTS : DRAFTS + network.SIZES] = plan[: network.SIZES]
    block = np.zeros(lay_out(words) // 8, np.int64)
    arrays: list[NDArray[Any]] = [words, plan, weights, *given]
    for place, values in zip((0, *words[PLAN_AT:WORDS]), arrays, strict=True):
        numbers = np.ascontiguousarray(values).view(np.uint8).ravel()
        block.view(np.uint8)[place : place + numbers.size] = numbers
    block[CHECKSUM] = block[CHECKSUM + 1 :].sum()
    return block.tobytes()


def lay_out(words: NDArray[np.int64]) -> int:
    """Write where the arrays lie, which follows from their sizes; return the bytes of the block.

    Kernels call it, too.
    """
    wide, narrow = words[CONTOUR_WIDE], words[CONTOUR_NARROW]
    follows = min(wide, 1)
    size = -(-8 * WORDS // _ALIGNED) * _ALIGNED
    for k, need in enumerate(
        (
            8 * words[N_PLAN],
            4 * words[N_WEIGHTS],
            4 * FEATURES * follows,
            4 * FEATURES * follows,
            4 * wide * FEATURES,
            4 * wide,
            4 * narrow * wide,
            4 * narrow,
            4 * POINTS * narrow,
            4 * POINTS * follows,
        )
    ):
        words[PLAN_AT + k] = size
        size += -(-need // _ALIGNED) * _ALIGNED
    words[BYTES] = size
    return int(size)
