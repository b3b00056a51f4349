import numpy as np
import pytest
from numpy.typing import NDArray

import plc
from plc_bench.robust.tone import ToneCase, all_cases, measure_tones


def test_every_packet_size_of_the_engine_is_a_case() -> None:
    cases = all_cases()
    assert len(cases) == len(set(cases))
    assert {(case.sample_rate, case.packet_samples) for case in cases} >= {
        (48_000, 48),
        (48_000, 5760),
        (44_100, 441),
        (48_000, 64),
        (44_100, 512),
        (48_000, 1152),
        (8000, 8),
    }


def test_holes_fail_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_conceal(signal: NDArray[np.float32], *_: object, **__: object) -> NDArray[np.float32]:
        return signal

    monkeypatch.setattr(plc, "conceal", fake_conceal)
    (result,) = measure_tones([ToneCase(48_000, 480)], seconds=2.0)
    # Gaps touch where packets in a row are lost, so there are no more runs than lost packets.
    assert 0 < result.zero_runs <= result.lost
    assert result.phase_error_deg == 180.0
    # From the crest to zero at once: 0.5 against 0.5 * 2 pi 440 / 48000; at zero crossings less.
    assert 1.0 <= result.step_ratio <= 17.4
    assert not result.passed


def test_a_sine_that_turns_away_has_the_phase_error_of_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fake_conceal(signal: NDArray[np.float32], *_: object, **__: object) -> NDArray[np.float32]:
        turns = 440.0 / 48_000 * np.arange(signal.size) - 6.0 / 360.0
        turned: NDArray[np.float32] = (0.5 * np.sin(2 * np.pi * turns)).astype(np.float32)
        return turned

    monkeypatch.setattr(plc, "conceal", fake_conceal)
    (result,) = measure_tones([ToneCase(48_000, 480)], seconds=1.0)
    assert result.phase_error_deg == pytest.approx(6.0, abs=0.01)
    assert result.zero_runs == 0
    assert not result.passed


@pytest.mark.parametrize("case", [ToneCase(8000, 80), ToneCase(48_000, 480), ToneCase(44_100, 512)])
def test_the_engine_keeps_a_sine(case: ToneCase) -> None:
    (result,) = measure_tones([case], seconds=2.0)
    assert result.lost > 0
    assert result.passed, result
