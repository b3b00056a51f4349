"""Where a signal is lost, however it is said."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plc.engine.spans import lost_spans, merge_spans
from plc.errors import ConfigError, TraceError

SAMPLES, PACKET = 1000, 160
PACKETS = 7


@given(st.lists(st.booleans(), min_size=PACKETS, max_size=PACKETS))
def test_a_trace_and_the_mask_it_stands_for_are_the_same_stretches(trace: list[bool]) -> None:
    mask = np.repeat(trace, PACKET)[:SAMPLES]
    spans = lost_spans(trace, SAMPLES, PACKET)
    assert lost_spans(mask, SAMPLES, PACKET) == spans
    assert lost_spans(spans, SAMPLES, PACKET) == spans
    found = np.zeros(SAMPLES, bool)
    for start, stop in spans:
        found[start:stop] = True
    np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize(
    "gaps",
    [
        [(30, 40), (10, 20), (15, 25)],
        ((30, 40), [10, 25]),
        np.array([(10, 20), (20, 25), (30, 40)]),
        np.array([(30, 40), (10, 25)], np.uint16),
    ],
)
def test_gaps_are_merged_and_put_in_order(gaps: Any) -> None:
    assert lost_spans(gaps, SAMPLES, PACKET) == [(10, 25), (30, 40)]


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_zeros_and_ones_are_a_trace(kind: Any) -> None:
    assert lost_spans(kind([0, 1, 1, 0, 0, 0, 1]), SAMPLES, PACKET) == [(160, 480), (960, 1000)]


@pytest.mark.parametrize("lost", [[], (), np.zeros((0, 2), int), [False] * PACKETS])
def test_nothing_may_be_lost(lost: Any) -> None:
    assert lost_spans(lost, SAMPLES, PACKET) == []


def test_masks_and_gaps_of_torch_are_taken() -> None:
    torch = pytest.importorskip("torch")
    trace = torch.zeros(PACKETS, dtype=torch.bool)
    trace[1] = True
    assert lost_spans(trace, SAMPLES, PACKET) == [(160, 320)]
    assert lost_spans(torch.tensor([[5, 9]]), SAMPLES, PACKET) == [(5, 9)]


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ([True] * 6, r"the trace has 6 packets; 1000 samples .* are 7 \(a mask by sample: 1000\)"),
        (np.zeros(0, bool), "the trace has 0 packets"),
        (np.zeros((SAMPLES, 2), bool), r"shape \(1000, 2\).*give lost.any\(axis=1\)"),
        ((100, 200), r"give gaps as \[\(start, stop\), …\] in samples"),
        ([0.5] * SAMPLES, "neither True and False"),
        (["lost"] * 7, "gap is 'lost'"),
        ("1010101", "lost is the text '1010101'; give a trace or gaps themselves"),
        (None, "neither True and False"),
        ({3, 4}, "neither True and False"),
        ([np.nan] * 7, "neither True and False"),
    ],
)
def test_what_is_no_trace_says_what_would_do(lost: Any, message: str) -> None:
    with pytest.raises((TraceError, ConfigError), match=message):
        lost_spans(lost, SAMPLES, PACKET)


def test_what_numpy_cannot_read_is_a_trace_error() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TraceError, match="lost is Tensor, which numpy cannot read"):
        lost_spans(torch.zeros(PACKETS, requires_grad=True), SAMPLES, PACKET)


@pytest.mark.parametrize("gap", [(5, 5), (6, 5), (-1, 4), (990, 1001), (1.0, 2.0), (1, 2, 3)])
def test_gaps_outside_the_signal_are_refused(gap: Any) -> None:
    with pytest.raises(ConfigError, match="gap"):
        merge_spans([gap], SAMPLES)
