import numpy as np
import pytest

from plc_kernels.signal.repeats import lag_errors, repeat_starts
from tests.signals import noise

BLOCK = 8


@pytest.mark.parametrize("lag", [1, 5, 8, 37, 400])
def test_lag_errors_are_running_sums_of_squared_differences(lag: int) -> None:
    x = noise(1, 803)
    errors = np.empty(x.size // BLOCK + 1)
    lag_errors(lag, BLOCK, x, errors)
    before = np.concatenate([np.zeros(lag), x])[: x.size].astype(np.float64)
    squares = (x - before) ** 2
    expected = [squares[: k * BLOCK].sum() for k in range(errors.size)]
    np.testing.assert_allclose(errors, expected, rtol=1e-5, atol=1e-9)


def best(x: np.ndarray, lags: range) -> np.ndarray:
    frames = x.size // BLOCK
    powers = np.concatenate(
        [[0.0], np.cumsum((x[: frames * BLOCK] ** 2).reshape(-1, BLOCK).sum(1))]
    )
    found, errors = np.zeros((frames, 7)), np.empty(frames + 1)
    for lag in lags:
        lag_errors(lag, BLOCK, x, errors)
        repeat_starts(lag, BLOCK, 4, errors, powers.astype(np.float64), found)
    return found


def test_a_repeated_block_is_found_at_its_lag_and_place() -> None:
    x = noise(2, 3200)
    x[1600:1840] = x[1360:1600]
    found = best(x, range(32, 400))
    first = int(np.argmax(found[:, 0]))
    assert found[first, 1] == 240
    assert abs(first - 200) <= 1
    assert abs(found[first, 2] - 230) <= 1
    assert found[first, 3] < 1e-6
    assert min(found[first, 4], found[first, 5]) > 0.5


@pytest.mark.parametrize("kind", ["noise", "silence", "a period"])
def test_what_does_not_repeat_or_always_does_is_not_found(kind: str) -> None:
    x = {
        "noise": noise(3, 3200),
        "silence": np.zeros(3200, np.float32),
        "a period": np.tile(noise(4, 100), 32),
    }[kind]
    assert not best(x, range(32, 400))[:, 0].any()


def test_a_nan_repeats_nothing() -> None:
    x = noise(5, 1600)
    x[700:900] = np.nan
    assert not best(x, range(32, 200))[:, 0].any()
