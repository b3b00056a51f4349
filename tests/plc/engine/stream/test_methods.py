import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from plc import inpaint
from plc.engine.predict.ladder import STEADY, UNSTEADY
from plc.engine.stream.concealment import StepPrediction
from plc.engine.stream.config import StreamConfig
from plc.engine.stream.methods import (
    BASELINES,
    FILE_METHODS,
    METHODS,
    RECORDING_METHODS,
    make_method,
    rung_of,
    stream_models,
)
from plc.errors import ConfigError, ModelError
from plc_kernels.signal.rungs import MAX_ORDER, MAX_PAST_SAMPLES
from plc_kernels.stream.layout import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE

CONFIG = StreamConfig(
    sample_rate=16_000, channels=2, packet_samples=160, lookahead=2, budget_ms=math.inf
)


@pytest.mark.parametrize("method", [*METHODS, "burg:20/60"])
def test_every_method_has_ladders_for_the_step(method: str) -> None:
    made = make_method(replace(CONFIG, method=method))
    assert made.name in made.names
    assert made.ladders.past_samples > 0


def test_inpaint_says_which_methods_it_has() -> None:
    assert inpaint.__doc__ is not None
    described = inpaint.__doc__.partition("    method : str\n")[2].partition("    model : str\n")[0]
    said = set(re.findall(r"``(\w+)[`:]", described.partition(". ")[0]))
    assert said == set(RECORDING_METHODS)


@pytest.mark.parametrize("methods", [METHODS, FILE_METHODS, BASELINES])
def test_every_method_is_described_in_a_line(methods: dict[str, str]) -> None:
    assert all(0 < len(text) < 100 and "\n" not in text for text in methods.values())


@pytest.mark.parametrize("method", ["auto", "ar"])
def test_ours_is_the_ladder(method: str) -> None:
    filler = make_method(replace(CONFIG, method=method, model="ar"))
    assert isinstance(filler, StepPrediction)
    assert set(filler.names) == {rung.name for rung in STEADY + UNSTEADY}


def test_the_budget_shortens_the_ladder_of_ours_alone() -> None:
    tight = StreamConfig(sample_rate=16_000, packet_samples=160, budget_ms=1e-6, prepare="never")
    assert set(make_method(replace(tight, method="auto")).names) == {
        STEADY[-1].name,
        UNSTEADY[-1].name,
    }
    assert make_method(replace(tight, method="burg:20/100")).names == ("ar:20/100",)


@given(
    order_tenths=st.integers(1, 400),
    past_ms=st.integers(80, 85),
    sample_rate=st.integers(8000, 192_000),
)
def test_an_explicit_predictor_has_the_order_and_past_it_names(
    order_tenths: int, past_ms: int, sample_rate: int
) -> None:
    assume(order_tenths / 10 <= 1000 * MAX_ORDER / sample_rate)
    rung = rung_of(f"burg:{order_tenths / 10}/{past_ms}", sample_rate)
    assert rung.order_ms == order_tenths / 10
    assert rung.past_ms == past_ms


@pytest.mark.parametrize("sample_rate", [MIN_SAMPLE_RATE, 44_100, MAX_SAMPLE_RATE])
def test_plain_burg_fits_every_rate(sample_rate: int) -> None:
    rung = rung_of("burg", sample_rate)
    assert rung.name == "ar:5/50"
    assert rung.past_samples(sample_rate) == round(0.05 * sample_rate)


@pytest.mark.parametrize("method", BASELINES)
def test_a_peer_conceals_no_stream_and_says_where_it_is(method: str) -> None:
    said = rf"plc inpaint --method {method}\), and is a peer of plc bench quality; .* ar, burg"
    with pytest.raises(ConfigError, match=said):
        make_method(replace(CONFIG, method=method))


@pytest.mark.parametrize(
    "method",
    [
        *("", "magic", "AUTO", " burg", "burg:", "burg:20", "burg:20/", "burg:/100"),
        *("burg:-5/100", "burg:5/100/3", "burg:5 /100", "burg:1e1/100", "burg:5/nan"),
        "burg:5/100\n",
    ],
)
def test_an_unknown_method_names_the_known_ones(method: str) -> None:
    with pytest.raises(ConfigError, match=r"method is .*; known: auto, .*burg:20/100") as caught:
        make_method(replace(CONFIG, method=method))
    assert all(name in str(caught.value) for name in METHODS)


@pytest.mark.parametrize("method", ["burg:51/100", "burg:0/100", "burg:0.0/100", "burg:5/9"])
def test_an_order_above_half_the_past_is_refused(method: str) -> None:
    with pytest.raises(ConfigError, match="order up to half of it"):
        rung_of(method, 48_000)


@pytest.mark.parametrize("sample_rate", [MIN_SAMPLE_RATE, 48_000, MAX_SAMPLE_RATE])
def test_a_past_beyond_the_limit_is_refused(sample_rate: int) -> None:
    most_ms = 1000 * MAX_PAST_SAMPLES // sample_rate
    rung_of(f"burg:5/{most_ms}", sample_rate)
    with pytest.raises(ConfigError, match=f"at {sample_rate} Hz the past may be"):
        rung_of(f"burg:5/{most_ms + 1}", sample_rate)


@pytest.mark.parametrize("model", ["no-such-model", "", "/some/file.onnx"])
def test_an_unknown_model_says_what_would_do(model: str) -> None:
    with pytest.raises(ModelError, match=r"in the package|plc models"):
        make_method(replace(CONFIG, model=model))


def test_a_past_that_nothing_can_be_fitted_on_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the past may be 8\.0 to"):
        rung_of("burg:1/7", 8000)


NARROW = {"speech": "speech-narrowband"}
BOTH = {"music": "music", "speech": "speech"}
MUSIC = {"music": "music", "speech": "music"}


@pytest.mark.parametrize(
    ("sample_rate", "served", "bridged"),
    [
        (8_000, NARROW, True),
        (15_999, NARROW, True),
        (16_000, BOTH, True),
        (48_000, BOTH, True),
        (96_000, BOTH, False),
        (96_001, MUSIC, False),
        (192_000, MUSIC, False),
    ],
)
def test_a_stream_has_the_networks_that_help_at_its_rate(
    sample_rate: int, served: dict[str, str], bridged: bool
) -> None:
    pytest.importorskip("onnxruntime")
    causal, bridges = stream_models("auto", sample_rate)
    assert {content: manifest.name for content, manifest in causal.items()} == served
    expected = {"speech": "speech-bridge"} if bridged else {}
    assert {content: manifest.name for content, manifest in bridges.items()} == expected


def test_a_method_of_streams_fills_no_recording() -> None:
    with pytest.raises(ConfigError, match="method is 'server'; known: auto, ar, burg, lpc"):
        inpaint(np.zeros(4000, np.float32), [(2000, 2100)], method="server")
