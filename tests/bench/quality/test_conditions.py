from pathlib import Path

import numpy as np
import pytest

from plc.engine.loss import GilbertElliott
from plc.engine.trace_files import write_trace
from plc.errors import ConfigError, TraceError
from plc_bench.base.corpus import clip_seed
from plc_bench.quality.conditions import Condition


def test_losses_follow_from_the_clips_name() -> None:
    condition = Condition(loss=0.2, mean_burst=3.0)
    losses = condition.losses("a.wav", 200, 160, seed=1)
    expected = GilbertElliott(0.2, 3.0).trace(200, clip_seed("a.wav", 1))
    np.testing.assert_array_equal(losses, expected)
    assert (losses != condition.losses("b.wav", 200, 160, seed=1)).any()


def test_a_packet_has_a_length_in_ms_or_in_samples() -> None:
    assert Condition(packet_ms=7.5).samples_of_packet(48_000) == 360
    assert Condition(packet_samples=512).samples_of_packet(44_100) == 512


def test_names_tell_conditions_apart(tmp_path: Path) -> None:
    trace = tmp_path / "bad day.trace"
    trace.write_text("01")
    conditions = [
        Condition(),
        Condition(loss=0.2),
        Condition(mean_burst=2.0),
        Condition(packet_ms=20.0),
        Condition(packet_samples=512),
        Condition(trace=str(trace)),
    ]
    names = [condition.name for condition in conditions]
    assert names[0] == "10pc-burst1.5-10ms"
    assert names[-1] == "bad day-10ms"
    assert len(set(names)) == len(names)


def test_a_clip_begins_somewhere_in_a_longer_trace(tmp_path: Path) -> None:
    path = tmp_path / "real.trace"
    whole = GilbertElliott(0.3, 2.0).trace(1000, 7)
    write_trace(path, whole, ["packets of 160 samples, 1 = lost"])
    condition = Condition(trace=str(path))
    pieces = {condition.losses(f"{n}.wav", 100, 160, 0).tobytes() for n in range(5)}
    assert len(pieces) == 5
    windows = {whole[i : i + 100].tobytes() for i in range(901)}
    assert pieces <= windows
    np.testing.assert_array_equal(condition.losses("x.wav", 1000, 160, 0), whole)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "real.trace"
    write_trace(path, [True] * 10, ["packets of 160 samples, 1 = lost"])
    condition = Condition(trace=str(path))
    with pytest.raises(TraceError, match="has 10 packets; the clip has 11"):
        condition.losses("a.wav", 11, 160, 0)
    with pytest.raises(TraceError, match="packets of 160 samples; the clip's have 441"):
        condition.losses("a.wav", 5, 441, 0)
    with pytest.raises(TraceError, match=r"no trace for b\.wav"):
        Condition(trace=str(tmp_path)).losses("b.wav", 5, 160, 0)
    with pytest.raises(TraceError, match="does not exist"):
        Condition(trace=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="loss is"):
        Condition(loss=1.5)
    with pytest.raises(ConfigError, match="packets of 0 samples"):
        Condition(packet_samples=0)
