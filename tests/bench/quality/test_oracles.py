"""Oracles: a part of the truth, on lost samples alone."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc_bench.quality.contenders import check_methods, contender
from plc_bench.quality.oracles import PARTS
from plc_bench.quality.stream import Stream, play
from plc_bench.scores import bands
from tests.signals import noise

RATE = 16_000
TRACE = np.zeros(50, np.bool_)
TRACE[[10, 20, 21, 30, 31, 32]] = True
LOST = np.repeat(TRACE, 320)


@pytest.fixture(scope="module")
def truth() -> NDArray[np.float32]:
    slope = np.linspace(0.2, 1.0, 16_000, dtype=np.float32)
    return np.stack([noise(1, 16_000) * slope, noise(2, 16_000)], axis=1)


def played(name: str, truth: NDArray[np.float32]) -> NDArray[np.float32]:
    return play(contender(name), Stream(truth, TRACE, 320, RATE))


@pytest.mark.parametrize("part", PARTS)
def test_received_samples_stay(part: str, truth: NDArray[np.float32]) -> None:
    made = played(f"repeat@oracle={part}", truth)
    plain = played("repeat", truth)
    np.testing.assert_array_equal(made[~LOST], plain[~LOST])
    assert (made[LOST] != plain[LOST]).any()


def test_the_truth_is_told_in_first_packets_or_the_rest(truth: NDArray[np.float32]) -> None:
    first, rest = (played(f"zeros@oracle={part}", truth) for part in ("first", "rest"))
    begins = np.repeat(TRACE & ~np.append(False, TRACE[:-1]), 320)
    np.testing.assert_array_equal(first[begins], truth[begins])
    np.testing.assert_array_equal(rest[LOST & ~begins], truth[LOST & ~begins])
    assert not first[LOST & ~begins].any()
    assert not rest[begins].any()


def test_told_levels_are_the_truths(truth: NDArray[np.float32]) -> None:
    mono = truth[:, :1]
    plain, told = (played(name, mono) for name in ("repeat", "repeat@oracle=envelope"))
    before, after = (bands.distance_db(mono, one, LOST, RATE) for one in (plain, told))
    assert after < 0.6 * before


@pytest.mark.parametrize("name", ["auto@oracle=", "auto@oracle=all", "opus@oracle=first"])
def test_what_cannot_be_told_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is followed by @oracle=envelope"):
        check_methods([name])
