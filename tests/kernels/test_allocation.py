"""A kernel borrows every array it works on; it asks for no memory of its own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from plc.engine.predict.contour_model import contour_model
from plc.engine.predict.expected_contour import ContourBridge
from plc_kernels.build import denormals
from plc_kernels.signal import (
    ar,
    bridged_gap,
    click,
    content,
    contour,
    dropouts,
    fade,
    level,
    noise,
    noise_filling,
    packet,
    passages,
    predict,
    repeats,
    ring,
    toeplitz,
)
from tests.kernels.content_state import ContentState
from tests.kernels.memory import assert_allocates_nothing, filling_memory, noise_state

X, Y, Z = np.ones((3, 480), np.float32)
WORK = ar.ArWorkspace.allocate(480, 64)
PREDICTOR = np.zeros(65)
ROWS = np.ones((2, 240), np.float32)
STATE = noise_state(16_000, 0)
NOISE_POWERS = STATE.levels[noise.POWERS]
RECENT = np.zeros(STATE.spectrum.size, np.float32)
FILLING = filling_memory(16_000)
HEARD = ContentState.allocate()
RING_HEADER = np.zeros(ring.HEADER, np.int64)
RING_HEADER[[ring.CAPACITY, ring.CHANNELS]] = 240, 2
PAST = np.sin(np.arange(920, dtype=np.float32) / 8.0)
POINTS = np.zeros(contour.POINTS, np.float32)
LOOKED = np.zeros(contour.FEATURES, np.float32)
SCORE = np.zeros(160, np.float32)
VOICED = np.resize(PAST, (1, 921))
_BRIDGE = ContourBridge(8000, 1, 80)
SPACE, CROSSING = _BRIDGE.space, _BRIDGE.crossing
VOICES = (
    np.zeros((1, 921 + 240), np.float32),
    np.zeros((1, contour.POINTS), np.float32),
    np.zeros(1),
    np.ones(1, np.int64),
)
TURNED = predict.Predictor.allocate(8000, 1, 400, 40, 240, from_onsets=False)
MET = predict.measure_bridge(8000, 40, 400, 400, 400, 80)
LAGS = np.array([60, 90])
DROPPED = np.zeros((2, dropouts.STATE_WORDS), np.int64)
GAPS = np.zeros(81, np.int64)
SHARES, NORMAL = np.zeros(2), np.zeros((2, 2))
SEARCHED, POWERS = np.ones((2, passages.ROWS * passages.LINE_ROW), np.float32)
CORRELATION, EVERY = np.ones((2, passages.ROWS * passages.LAG_ROW), np.float32)
SLOTS, COUNTS = np.zeros((2, 16), np.int64)
PEAKS, ENERGIES, LEVELS = np.zeros((2, 16), np.float32), np.zeros((2, 16)), np.ones((2, 4))

DEFAULT_CONTROL = denormals.flush_denormals()
denormals.restore_denormals(DEFAULT_CONTROL)

CALLS: list[tuple[Any, tuple[object, ...]]] = [
    (ar.burg, (64, X, WORK.forward, WORK.backward, WORK.mirror, PREDICTOR)),
    (ar.extrapolate, (PREDICTOR[1:], np.zeros(128))),
    (ar.taps_of, (PREDICTOR, np.zeros(64))),
    (
        toeplitz.solve_toeplitz,
        (np.eye(8)[0].copy(), np.empty((8, 8)), np.empty((2, 8)), np.ones(8)),
    ),
    (
        toeplitz.solve_toeplitz_at,
        (np.eye(8)[0].copy(), np.arange(8), np.empty((8, 8)), np.ones(8)),
    ),
    (click.click_ratio, (96, np.ones(480), np.ones(480), np.arange(480) // 96 == 2)),
    (
        content.follow_content,
        (NOISE_POWERS, HEARD.numbers, HEARD.logs, HEARD.counts, HEARD.inputs, HEARD.units),
    ),
    (denormals.restore_denormals, (DEFAULT_CONTROL,)),
    (
        dropouts.find_dropouts,
        (8000, 80, np.ones((2, 440), np.float32), DROPPED, np.zeros((2, 80), np.int8), GAPS),
    ),
    (dropouts.skip_packet, (8000, 80, DROPPED)),
    (fade.crossfade, (X, Y, Z)),
    (fade.burst_gain, (0, 10, 10, X)),
    (fade.fade_into, (X, Y, Z)),
    (fade.mix_by_error, (1.0, 1.0, X, Y)),
    (level.follow_level, (ROWS, 0, 240, 0, 80, SLOTS, COUNTS, PEAKS, ENERGIES)),
    (level.allowed_level, (2, 80, 4, 8, 16, SLOTS, COUNTS, PEAKS, ENERGIES, LEVELS)),
    (level.quietest_power, (2, 80, 4, SLOTS, COUNTS, ENERGIES, np.zeros(2))),
    (level.quieten, (1.0, 0.01, np.zeros(1), X)),
    (level.hold_level, (1.0, 1.0, 10.0, 0.01, 10, np.zeros(3), np.zeros(20), X)),
    (noise.track_noise, (STATE,)),
    (noise.comfort_noise, (1.0, STATE, STATE.tail.copy())),
    (noise.recent_levels, (STATE, RECENT)),
    (noise_filling.aim_at, (16_000, RECENT, FILLING)),
    (noise_filling.fill_noise, (0, 160, 320, FILLING, X)),
    (repeats.lag_errors, (40, 8, X, np.zeros(31))),
    (repeats.repeat_starts, (40, 8, 4, np.zeros(31), np.zeros(31), np.zeros((30, 7)))),
    (packet.unpack_float32, (np.ones((240, 2), np.float32), 0, 240, ROWS)),
    (packet.unpack_int16, (np.ones((240, 2), np.int16), 0, 240, ROWS)),
    (packet.pack_float32, (ROWS, np.ones((240, 2), np.float32))),
    (packet.pack_int16, (ROWS, np.ones((240, 2), np.int16))),
    (ring.take_in, (RING_HEADER, X, False, Y)),
    (ring.give_out, (RING_HEADER, X, False, Z)),
    (passages.thin_flattened, (X, 0, 240, 4, np.zeros(4), Y)),
    (passages.follow_lags, (X, 40, 240, 200, 0.9, SEARCHED, POWERS, Z, CORRELATION)),
    (passages.best_lags, (CORRELATION, POWERS, 200, 279, 20, 200, EVERY, LAGS.copy(), Z)),
    (passages.flattened_at, (X, 20, Z)),
    (passages.refine_lags, (X, 20, 4, Y[:40], Z[:48], LAGS.copy())),
    (passages.weigh_passages, (X, 20, LAGS, Y[:40], np.zeros((2, 40), np.float32), NORMAL, SHARES)),
    (passages.add_passages, (X, 20, LAGS, SHARES, 30, np.zeros(1, np.float32), Z[:50])),
    (passages.innovation_share, (PREDICTOR[1:], X, Y, 8)),
    (contour.look_back, (PAST, 8000.0, SCORE, LOOKED)),
    (contour.period_around, (PAST, 460, 50.0, 0.1, 8000.0, SCORE)),
    (contour.expect, (LOOKED, contour_model(), np.zeros((2, 96), np.float32), POINTS)),
    (contour.thin_out, (PAST, 2, SCORE)),
    (contour.repeat_cycle, (PAST, 50.0, POINTS, 8000.0, X)),
    (contour.meet, (PAST, 50.0, POINTS, 8000.0, 160.0, X.copy(), SCORE, POINTS.copy())),
    (contour.turn, (POINTS, 20.0, POINTS.copy())),
    (contour.bend, (PAST, 100, 50.0, 50.0, POINTS, 8000.0, X)),
    (contour.contour_sizes, (8000, 80)),
    (contour.look, (8000, contour_model(), SPACE, VOICED[0], POINTS.copy())),
    (contour.bend_along, (8000, SPACE, PAST, 400, 50.0, POINTS, X.copy())),
    (contour.met_samples, (8000,)),
    (
        contour.cross,
        (8000, contour_model(), SPACE, CROSSING, VOICED[0], PAST, 160, POINTS.copy()),
    ),
    (contour.bend_near, (8000, SPACE, PAST, 400, 50.0, POINTS, X.copy())),
    (bridged_gap.lead_in_along, (TURNED, 0, MET, SPACE, CROSSING, PAST, 50.0, POINTS)),
    (contour.follow, (8000, contour_model(), SPACE, VOICED, 0, *VOICES)),
    (contour.draft, (8000, SPACE, *VOICES, 20, np.zeros((2, 100), np.float32))),
]


def _name(value: object) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize(("kernel", "args"), CALLS, ids=_name)
def test_a_kernel_allocates_nothing(
    kernel: Callable[..., object], args: tuple[object, ...]
) -> None:
    assert_allocates_nothing(kernel, args)
