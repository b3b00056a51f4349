"""A prepared burst is the burst that begins without, bit for bit."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.models.catalogue import find
from plc.networks.flat import shared_models
from plc_kernels.stream import entry, gap, layout, network, prediction, preparation, recall
from tests.examples import examples
from tests.kernels.stream.blocks import Stream, settings_of
from tests.kernels.stream.test_network import speech
from tests.kernels.test_allocation import assert_allocates_nothing
from tests.signals import tones

BETWEEN, BESIDE = preparation.BETWEEN, preparation.BESIDE


def model_for(rate: int) -> NDArray[np.int64]:
    names = ["speech", "music"] if rate >= 16_000 else ["speech-narrowband"]
    models = shared_models(*map(find, names))
    assert models is not None
    return models.words


def pair(
    rate: int, channels: int, packet: int, prepares: int, networked: bool = True, refit: int = 0
) -> tuple[Stream, Stream]:
    """Return a stream that prepares, and one that does not."""
    model = model_for(rate) if networked else None
    both = tuple(
        Stream(settings_of(rate, channels, packet, prepares=k), model) for k in (prepares, 0)
    )
    for one in both:
        one.block[layout.REFIT] = refit
    return both[0], both[1]


def signal_of(rate: int, channels: int, packet: int, sung: bool) -> NDArray[np.float32]:
    """Return packets of speech or of a chord, shape (n, packet, channels)."""
    if sung:
        rows = [tones(c, rate, 2 * rate) for c in range(channels)]
        whole = np.stack(rows, 1)
    else:
        whole = speech(rate, channels)
    n = len(whole) // packet
    return np.ascontiguousarray(whole[: n * packet].reshape(n, packet, channels))


@examples(60, few=8)
@given(
    rate=st.sampled_from([8000, 16_000, 48_000]),
    channels=st.integers(1, 2),
    packet_ms=st.sampled_from([1.5, 5, 10, 20]),
    prepares=st.sampled_from([BETWEEN, BESIDE]),
    networked=st.booleans(),
    sung=st.booleans(),
    refit_ms=st.sampled_from([0, 50]),
    often=st.floats(0.2, 1.0),
    seed=st.integers(0, 1000),
)
@example(16_000, 1, 10, BETWEEN, False, True, 50, 1.0, 1)  # a fit of two serves again
def test_what_is_prepared_is_what_is_played_without(
    rate: int,
    channels: int,
    packet_ms: float,
    prepares: int,
    networked: bool,
    sung: bool,
    refit_ms: int,
    often: float,
    seed: int,
) -> None:
    n = round(rate * packet_ms / 1000)
    networked &= rate < 48_000 or packet_ms >= 5  # else a prepared burst has its answer earlier
    prepared, plain = pair(rate, channels, n, prepares, networked, rate * refit_ms // 1000)
    rng = np.random.default_rng(seed)
    taken = 0
    ready = False
    for k, packet in enumerate(signal_of(rate, channels, n, sung)[: round(1500 / packet_ms)]):
        lost = rng.random() < 0.2
        missing = [(0, n // 2)] if not lost and rng.random() < 0.05 and n > 2 else []
        given_packet = None if lost else packet
        expected = plain.push(given_packet, missing)
        events = prepared.counter("concealment_events")
        np.testing.assert_array_equal(prepared.push(given_packet, missing), expected, f"{k}")
        began = prepared.counter("concealment_events") > events
        taken += began and prepared.block[layout.TAKEN]
        if began and lost:
            assert prepared.block[layout.TAKEN] == ready
        ready = rng.random() < often and prepared.look()
        if ready:
            if rng.random() < 0.1:
                prepared.move()
            prepared.prepare()
    assert taken > 0
    assert prepared.guarded
    counted = slice(layout.STATS, layout.LADDER)
    np.testing.assert_array_equal(prepared.block[counted], plain.block[counted])


@pytest.mark.parametrize("later", [1, 2, 9])
def test_packets_may_be_pushed_while_a_burst_is_prepared_apart(later: int) -> None:
    """The set is made for a moment that is over, and burst after burst begins meanwhile."""
    prepared, plain = pair(16_000, 1, 320, BESIDE)
    seen = False
    for k, packet in enumerate(signal_of(16_000, 1, 320, False)):
        given_packet = None if k % 7 in (4, 5) else packet
        expected = plain.push(given_packet)
        np.testing.assert_array_equal(prepared.push(given_packet), expected)
        assert not prepared.block[layout.TAKEN]
        if k % later == 0:
            if seen:
                prepared.prepare()
            seen = prepared.look()


def test_after_a_reset_nothing_is_prepared() -> None:
    prepared, new = pair(16_000, 1, 320, BETWEEN)
    packets = signal_of(16_000, 1, 320, False)
    for packet in packets[:40]:
        prepared.push(packet)
        assert prepared.look()
        prepared.prepare()
    at = prepared.block[layout.PREPARED_AT]
    entry.reset(prepared.block)
    assert at > prepared.block[layout.PREPARED_AT] == -1
    for k, packet in enumerate(packets):
        given_packet = None if k == 40 else packet
        np.testing.assert_array_equal(prepared.push(given_packet), new.push(given_packet))
    assert not prepared.block[layout.TAKEN]


def test_a_burst_that_goes_on_is_not_prepared() -> None:
    prepared, _ = pair(16_000, 1, 320, BETWEEN)
    packets = signal_of(16_000, 1, 320, False)
    for packet in packets[:30]:
        prepared.push(packet)
    assert prepared.look()
    prepared.push(None)
    assert not prepared.look()
    prepared.push(packets[30])
    assert prepared.look()


@pytest.mark.parametrize("prepares", [BETWEEN, BESIDE])
def test_the_second_set_lies_apart_from_all_else(prepares: int) -> None:
    prepared, plain = pair(16_000, 2, 320, prepares)
    block = prepared.block
    second = block[block[layout.SECOND] // 8 :][: layout.HEADER]
    own = [*prediction.SWAPPED, *(word for word in network.SWAPPED if block[word])]
    assert layout.MUSIC_NET + gap.MADE in own
    shared = {layout.WINDOWS, layout.SPEECH_NET + gap.LOST, network.ENTER_RAMP}
    beside = {layout.RING, network.WORK, layout.FIT_PAST, recall.HEARD, recall.MATCHED}
    end = block[layout.SECOND] + 8 * layout.HEADER
    for word in own:
        assert end <= second[word] + block[layout.SECOND] < block[layout.SIZE]
    for word in shared | beside:
        apart = second[word] + block[layout.SECOND] != block[word]
        assert apart == (word in beside and prepares == BESIDE)
    assert block.size > plain.block.size


def test_with_lookahead_or_without_being_asked_there_is_no_second_set() -> None:
    for settings in (settings_of(lookahead=1, prepares=BESIDE), settings_of()):
        stream = Stream(settings)
        assert not stream.block[layout.SECOND]
    header = np.zeros(layout.HEADER, np.int64)
    assert not entry.prepare(settings_of(prepares=3), header)


def test_preparing_allocates_nothing() -> None:
    prepared, _ = pair(16_000, 1, 320, BESIDE)
    for packet in signal_of(16_000, 1, 320, False)[:50]:
        prepared.push(packet)
    at = int(prepared.block[layout.POSITION] + 320)
    assert_allocates_nothing(preparation.look, (prepared.block, at))
    address = model_for(16_000).ctypes.data
    assert_allocates_nothing(preparation.prepare, (prepared.block, address))
