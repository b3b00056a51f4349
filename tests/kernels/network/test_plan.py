"""A list of layers in the making: its sizes, and where its rows lie."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.network import plan as at
from plc_kernels.network.layers import run_network
from plc_kernels.network.plan import HEAD, LAYER_WORDS, VIEW_WORDS, Layers
from plc_kernels.network.product import stored

SIZES = {"drafts": 1, "bins": 8, "context": 2, "frames": 10, "touching": 8}
FEATURES, CHANNELS = 10, 16


def _weights(inputs: int) -> NDArray[np.float32]:
    weight = np.random.default_rng(inputs).standard_normal((inputs, CHANNELS), np.float32)
    return stored(weight, np.zeros(CHANNELS, np.float32))


def _layers(products: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return a network of features, so many products one after another, and a fill."""
    net = Layers({}, **SIZES)
    rows = net.rows(10, FEATURES)
    net.add(at.FRAME_FEATURES, rows, net.spectra, scratch=24)
    for _ in range(products):
        made = net.rows(10, CHANNELS)
        net.product(_weights(rows.channels), net.steps(rows), made)
        rows = made
    net.add(at.FRAME_FILL, net.filled, rows.part(2, 8), weights=np.zeros(1))
    return net.finish()


def _table(plan: NDArray[np.int64]) -> tuple[list[list[int]], list[list[int]]]:
    """Return the layers and the views."""
    begin = HEAD + LAYER_WORDS * int(plan[at.LAYERS])
    layers: Any = plan[HEAD:begin].reshape(-1, LAYER_WORDS).tolist()
    views: Any = plan[begin:].reshape(-1, VIEW_WORDS).tolist()
    return layers, views


def test_a_network_is_its_sizes_five_words_a_layer_and_five_a_view() -> None:
    plan, weights = _layers(2)
    layers, views = _table(plan)
    assert plan[[at.DRAFTS, at.BINS, at.CONTEXT, at.FRAMES, at.TOUCHING]].tolist() == [
        *SIZES.values()
    ]
    kinds = [at.FRAME_FEATURES, *[at.STEPS, at.PRODUCT] * 2, at.FRAME_FILL]
    assert [layer[at.KIND] for layer in layers] == kinds
    assert len(views) == plan[at.VIEWS]
    assert views[at.NONE] == [0] * VIEW_WORDS
    assert plan[at.OPERATIONS] == 10 * (FEATURES + CHANNELS) * CHANNELS
    assert weights.size == layers[-1][at.WEIGHTS] + 16


def test_rows_in_use_together_lie_apart() -> None:
    plan, _ = _layers(3)
    layers, views = _table(plan)
    for layer in layers:
        kept = {at.SPECTRA, at.FILLED, *layer[at.INPUT :]} - {at.NONE}
        steps = layer[at.INPUT if layer[at.KIND] == at.PRODUCT else at.OUTPUT]
        ends = []
        for number in kept:
            place, rows, step, bins, channels = views[number]
            count = (rows - 1) * step + bins * channels
            ends.append((place, place + (count // 2 if number == steps else count)))
        for (_, stop), (begin, _) in zip(sorted(ends)[:-1], sorted(ends)[1:], strict=True):
            assert stop <= begin
        assert min(ends)[0] >= plan[at.SCRATCH]
        assert max(ends)[1] <= plan[at.WORK]


def test_rows_that_are_no_longer_read_make_room() -> None:
    few, many = (_layers(products)[0][at.WORK] for products in (3, 12))
    assert few == many


@pytest.mark.parametrize("products", [1, 5])
def test_any_list_is_run(products: int) -> None:
    plan, weights = _layers(products)
    rng = np.random.default_rng(0)
    spectra, lost = rng.standard_normal(160, np.float32), rng.random(10, np.float32)
    work, out = np.full(plan[at.WORK], np.nan, np.float32), np.zeros(128, np.float32)
    run_network(plan, weights, spectra, lost, work, out)
    assert np.isfinite(out).all()
    assert out.any()
