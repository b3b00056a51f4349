"""``detect_dropouts=True``: damaged packets that arrive are concealed as lost ones are."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer, conceal
from plc.engine.config import StreamConfig
from plc.engine.dropouts import DropoutFinder
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


def test_a_block_that_is_said_again_is_concealed() -> None:
    whole = tones(2, RATE, PACKETS * PACKET)
    stuck = whole.copy()
    stuck[100 * PACKET : 102 * PACKET] = np.tile(stuck[99 * PACKET : 100 * PACKET], 2)
    concealer = stream()
    heard = pushed(stuck, concealer)[:, 0]
    assert concealer.stats.detected_dropouts == 2
    lost = np.zeros(whole.size, np.bool_)
    lost[100 * PACKET : 102 * PACKET] = True
    assert nmse_db(heard, whole, lost) < -6.0 < nmse_db(stuck, whole, lost)


def test_int16_is_judged_as_float32_is() -> None:
    small = np.rint(32768 * sound()).astype(np.int16)
    small[100 * PACKET + 20 : 101 * PACKET] = 0
    small[120 * PACKET : 121 * PACKET] = small[119 * PACKET : 120 * PACKET]
    concealers = stream(), stream()
    pushed(small, concealers[0])
    pushed(small.astype(np.float32) / np.float32(32768.0), concealers[1])
    counted = [(each.stats.detected_dropouts, each.stats.lost_packets) for each in concealers]
    assert counted == [(2, 1), (2, 1)]


@pytest.mark.parametrize("channels", [1, 2])
def test_sound_passes_as_it_came(channels: int) -> None:
    whole = np.stack([glide(k, RATE, PACKETS * PACKET) for k in range(channels)], axis=1)
    whole[: 20 * PACKET] = 0.0
    concealer = stream(channels)
    np.testing.assert_array_equal(pushed(whole, concealer), whole)
    assert concealer.stats.detected_dropouts == concealer.stats.concealed_samples == 0


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
    from plc.cli.options import ReceiverOptions

    assert ReceiverOptions(detect_dropouts=True).config().stream.detect_dropouts
    assert not ReceiverOptions().config().stream.detect_dropouts
