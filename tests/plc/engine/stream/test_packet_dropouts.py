"""``detect_dropouts=True``: damaged packets that arrive are concealed as lost ones are."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer, conceal
from plc.engine.stream.config import StreamConfig
from plc.engine.stream.packet_dropouts import DropoutFinder
from tests.signals import glide, nmse_db, noise, tones

RATE, PACKET = 16_000, 160
PACKETS = 150


def pushed(
    signal: NDArray[np.float32] | NDArray[np.int16], concealer: Concealer, lost: int = -1
) -> NDArray[np.float32]:
    rows = signal.reshape(len(signal), -1)
    played = [
        concealer.push(None if k == lost else rows[k * PACKET : (k + 1) * PACKET])
        for k in range(len(rows) // PACKET)
    ]
    return np.concatenate([*played, concealer.flush()])[concealer.delay :]


def stream(channels: int = 1, lookahead: int = 0, detect_dropouts: bool = True) -> Concealer:
    return Concealer(
        RATE,
        channels,
        PACKET,
        lookahead,
        method="ar",
        budget_ms=np.inf,
        detect_dropouts=detect_dropouts,
    )


def sound() -> NDArray[np.float32]:
    return glide(1, RATE, PACKETS * PACKET)


@pytest.mark.parametrize("lookahead", [0, 2])
def test_a_muted_packet_becomes_what_a_lost_one_becomes(lookahead: int) -> None:
    whole = sound()
    muted = whole.copy()
    muted[100 * PACKET : 101 * PACKET] = 0.0
    concealer = stream(lookahead=lookahead)
    heard = pushed(muted, concealer)
    expected = pushed(whole, stream(lookahead=lookahead), lost=100)
    np.testing.assert_array_equal(heard, expected)
    stats = concealer.stats
    assert (stats.detected_dropouts, stats.lost_packets, stats.concealment_events) == (1, 1, 1)


def test_a_part_of_a_packet_is_concealed_and_the_rest_left() -> None:
    whole = sound()
    muted = whole.copy()
    hole = slice(100 * PACKET + 50, 101 * PACKET + 30)
    muted[hole] = 0.0
    concealer = stream()
    heard = pushed(muted, concealer)[:, 0]
    stats = concealer.stats
    assert (stats.detected_dropouts, stats.partial_packets, stats.lost_packets) == (2, 2, 0)
    assert stats.concealed_samples == hole.stop - hole.start
    np.testing.assert_array_equal(heard[: hole.start], whole[: hole.start])
    crossfade = round(0.0025 * RATE)
    np.testing.assert_array_equal(heard[hole.stop + crossfade :], whole[hole.stop + crossfade :])
    lost = np.zeros(whole.size, np.bool_)
    lost[hole] = True
    assert nmse_db(heard, whole, lost) < -4.0 < nmse_db(muted, whole, lost)


HOLES = [slice(k * PACKET + 30, k * PACKET + 30 + 200) for k in range(60, 140, 7)]


def stereo(alike: float) -> NDArray[np.float32]:
    """Return two channels that share so much of their sound."""
    left, own = tones(5, RATE, PACKETS * PACKET), glide(6, RATE, PACKETS * PACKET)
    return np.stack([left, alike * left + (1 - alike) * own], axis=1)


def with_holes(signal: NDArray[np.float32], channel: int) -> NDArray[np.float32]:
    damaged = signal.copy()
    for hole in HOLES:
        damaged[hole, channel] = 0.0
    return damaged


@pytest.mark.parametrize("lookahead", [0, 1])
@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("method", ["ar", "auto"])
def test_a_dropout_of_one_channel_leaves_the_other_as_it_came(
    lookahead: int, integer: bool, method: Any
) -> None:
    whole = stereo(0.3)
    damaged = with_holes(whole, 0)
    given = np.rint(damaged * 32768).astype(np.int16) if integer else damaged
    with Concealer(
        RATE, 2, PACKET, lookahead, method=method, budget_ms=np.inf, detect_dropouts=True
    ) as concealer:
        heard = pushed(given, concealer)
        assert concealer.stats.detected_dropouts >= len(HOLES)
        assert concealer.stats.lost_packets == 0
    np.testing.assert_array_equal(heard[:, 1], given[:, 1])
    lost = damaged[:, 0] != whole[:, 0]
    left = heard[:, 0] / 32768 if integer else heard[:, 0]
    assert nmse_db(left, whole[:, 0], lost) < -4.0


def test_a_channel_that_is_alike_guides_the_fill_of_its_neighbour() -> None:
    errors_db = []
    for left, right in ((1.0, 1.0), (0.0, 0.1), (0.1, 1.0)):
        whole = np.stack([stereo(left)[:, 1], stereo(right)[:, 1]], axis=1)
        damaged = with_holes(whole, 0)
        heard = pushed(damaged, stream(channels=2))[:, 0]
        alone = pushed(damaged[:, :1], stream())[:, 0]
        lost = damaged[:, 0] != whole[:, 0]
        errors_db.append(nmse_db(heard, whole[:, 0], lost) - nmse_db(alone, whole[:, 0], lost))
    same, near, other = errors_db
    assert same < -20.0
    assert near < -3.0
    assert abs(other) < 0.3


def test_a_channel_lost_before_its_neighbour_is_concealed_to_the_end() -> None:
    whole = stereo(0.0)
    damaged = with_holes(whole, 0)
    first = HOLES[0].start // PACKET
    concealer = stream(channels=2)
    heard = pushed(damaged, concealer, lost=first - 1)
    assert np.isfinite(heard).all()
    steps = np.abs(np.diff(heard, axis=0))[(first - 1) * PACKET : (first + 2) * PACKET]
    assert steps.max() <= 1.5 * np.abs(np.diff(whole, axis=0)).max()


def test_it_is_off_unless_asked_for() -> None:
    muted = sound()
    muted[100 * PACKET : 101 * PACKET] = 0.0
    concealer = stream(detect_dropouts=False)
    np.testing.assert_array_equal(pushed(muted, concealer)[:, 0], muted)
    assert concealer.stats.as_dict()["detected_dropouts"] == 0


def test_lost_packets_and_missing_parts_are_not_looked_at() -> None:
    concealer = stream()
    for k in range(30):
        packet = noise(k, PACKET)
        missing = ((40, 100),) if k % 7 == 6 else ()
        packet[40:100] = 0.0 if missing else packet[40:100]
        concealer.push(None if k % 7 == 5 else packet, missing=missing)
    stats = concealer.stats
    assert (stats.detected_dropouts, stats.lost_packets, stats.partial_packets) == (0, 4, 4)


def test_reset_forgets_the_past_and_the_count() -> None:
    concealer = stream()
    muted = sound()
    muted[100 * PACKET : 101 * PACKET] = 0.0
    pushed(muted, concealer)
    concealer.reset()
    assert concealer.stats.detected_dropouts == 0
    concealer.push(np.zeros((PACKET, 1), np.float32))
    assert concealer.stats.detected_dropouts == 0
    pushed(muted, concealer)
    assert concealer.stats.detected_dropouts == 1


def test_a_whole_signal_takes_it_too() -> None:
    muted = sound()
    muted[100 * PACKET : 101 * PACKET] = 0.0
    lost = np.zeros(PACKETS, np.bool_)
    heard = conceal(
        muted, lost, sample_rate=RATE, packet_samples=PACKET, method="ar", detect_dropouts=True
    )
    assert np.abs(heard[100 * PACKET : 101 * PACKET]).max() > 0.01


def test_packets_may_be_longer_than_the_lags_of_short_ones() -> None:
    rate, packet = 8_000, 960
    finder = DropoutFinder(StreamConfig(sample_rate=rate, packet_samples=packet))
    packets = [noise(k, packet)[:, None] for k in range(4)]
    assert [finder.look_at(each) for each in packets] == [()] * 4
    assert finder.look_at(packets[-1]) == ((0, packet),)


def test_the_command_line_hands_it_on() -> None:
    from plc.transport.cli.options import ReceiverOptions

    assert ReceiverOptions(detect_dropouts=True).config().stream.detect_dropouts
    assert not ReceiverOptions().config().stream.detect_dropouts
