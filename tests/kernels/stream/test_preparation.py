"""A prepared burst is the burst that begins without, bit for bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.engine.models.catalogue import find
from plc.engine.networks.flat import shared_models
from plc_kernels.stream import (
    entry,
    extend,
    extend_music,
    extend_network,
    gap,
    layout,
    networks,
    preparation,
)
from tests.examples import examples
from tests.kernels.memory import assert_allocates_nothing
from tests.kernels.stream.blocks import Stream, settings_of
from tests.signals import content

BETWEEN, BESIDE = preparation.BETWEEN, preparation.BESIDE


def model_for(rate: int, names: str = "speech music") -> NDArray[np.int64] | None:
    """Return those networks that know a rate; None for no network."""
    chosen = [find(name) for name in names.split()]
    chosen = [each for each in chosen if each.sample_rates[0] <= rate <= each.sample_rates[1]]
    if rate < 16_000 and names:
        chosen = [find("speech-narrowband")]
    models = shared_models(*chosen) if chosen else None
    return None if models is None else models.words


def pair(
    rate: int,
    channels: int,
    packet: int,
    prepares: int,
    names: str = "speech music",
    refit: int = 0,
) -> tuple[Stream, Stream]:
    """Return a stream that prepares, and one that does not."""
    model = model_for(rate, names)
    both = tuple(
        Stream(settings_of(rate, channels, packet, prepares=k), model) for k in (prepares, 0)
    )
    for one in both:
        one.block[layout.REFIT] = refit
    return both[0], both[1]


def second(stream: Stream) -> NDArray[np.int64]:
    """Return the second set of a stream, a block of its own."""
    return stream.block[stream.block[layout.SECOND] // 8 :]


def array_of(stream: Stream, word: int) -> NDArray[Any]:
    """Return an array of the second set, which may lie before that."""
    header = stream.block.copy()
    header[word] = second(stream)[word] + stream.block[layout.SECOND]
    return layout.TABLE.view(header, word)


def signal_of(
    rate: int, channels: int, packet: int, kind: str, seconds: float = 2.0
) -> NDArray[np.float32]:
    """Return packets of some content, shape (n, packet, channels)."""
    n = max(int(seconds * rate / packet), 12)
    return content(kind, rate, n * packet, channels).reshape(n, packet, channels)


CONTENT = ["speech", "music", "tones", "noise"]
RATES = [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000]


@examples(300, few=2)
@given(
    rate=st.sampled_from(RATES),
    channels=st.integers(1, 3),
    packet_ms=st.one_of(st.sampled_from([1, 5, 10, 20]), st.floats(1, 120)),
    prepares=st.sampled_from([BETWEEN, BESIDE]),
    names=st.sampled_from(["", "speech", "music", "speech music"]),
    kind=st.sampled_from(CONTENT),
    refit_ms=st.sampled_from([0, 50]),
    often=st.floats(0.2, 1.0),
    loss=st.floats(0.02, 0.6),
    seed=st.integers(0, 1000),
)
@example(16_000, 1, 10, BETWEEN, "", "tones", 50, 1.0, 0.2, 1)  # a fit of two serves again
@example(48_000, 1, 1.5, BETWEEN, "speech music", "speech", 0, 1.0, 0.2, 1)  # no packet waits
@example(44_100, 1, 5, BETWEEN, "speech music", "speech", 50, 1.0, 0.2, 1)  # 220 of 220.5 samples
@example(32_000, 1, 42, BESIDE, "music", "music", 0, 0.5, 0.4, 587)  # passages weigh less
@example(16_000, 1, 20, BESIDE, "speech music", "noise", 0, 1.0, 0.4, 8)  # and nothing, at times
def test_what_is_prepared_is_what_is_played_without(
    rate: int,
    channels: int,
    packet_ms: float,
    prepares: int,
    names: str,
    kind: str,
    refit_ms: int,
    often: float,
    loss: float,
    seed: int,
) -> None:
    n = max(int(rate * packet_ms / 1000), min(32, rate // 1000))
    prepared, plain = pair(rate, channels, n, prepares, names, rate * refit_ms // 1000)
    rng = np.random.default_rng(seed)
    ready = False
    for k, packet in enumerate(
        signal_of(rate, channels, n, kind, 1.5 * 48_000 / max(rate, 48_000))
    ):
        lost = rng.random() < loss
        missing = [(0, n // 2)] if not lost and rng.random() < 0.05 and n > 2 else []
        given_packet = None if lost else packet
        expected = plain.push(given_packet, missing)
        events = prepared.counter("concealment_events")
        np.testing.assert_array_equal(prepared.push(given_packet, missing), expected, f"{k}")
        if lost and prepared.counter("concealment_events") > events:
            assert prepared.block[layout.TAKEN] == ready
        ready = rng.random() < often and prepared.look()
        if ready:
            if rng.random() < 0.1:
                prepared.move()
            prepared.prepare()
    assert prepared.guarded
    counted = slice(layout.STATS, layout.LADDER)
    np.testing.assert_array_equal(prepared.block[counted], plain.block[counted])


@pytest.mark.parametrize("word", range(extend.INPUTS.size))
def test_a_burst_of_other_inputs_is_not_taken(word: int) -> None:
    prepared, plain = pair(16_000, 1, 320, BETWEEN)
    for packet in signal_of(16_000, 1, 320, "speech")[:40]:
        prepared.push(packet)
        plain.push(packet)
    assert prepared.look()
    prepared.prepare()
    second(prepared)[layout.KEY + word] ^= 1
    np.testing.assert_array_equal(prepared.push(None), plain.push(None))
    assert not prepared.block[layout.TAKEN]


@pytest.mark.parametrize("names", ["", "speech", "music"])
@pytest.mark.parametrize("kind", ["speech", "music"])
def test_a_burst_is_made_from_its_inputs_alone(names: str, kind: str) -> None:
    """All that changes in a stream is spoiled, but the inputs and what was played."""
    one, other = (pair(16_000, 1, 160, BETWEEN, names, 800)[0] for _ in range(2))
    before = one.block[: layout.HEADER].copy()
    for k, packet in enumerate(signal_of(16_000, 1, 160, kind)):
        for each in (one, other):
            each.push(None if k % 9 == 4 and k > 50 else packet)
            if each.look():
                each.prepare()
    changed = np.flatnonzero(one.block[: layout.HEADER] != before)
    assert layout.KEY + extend.INPUTS.size == layout.AWAKE_UNTIL
    key = range(layout.KEY, layout.AWAKE_UNTIL)
    kept = {*layout.TABLE.arrays, *extend.INPUTS.tolist(), *key}
    spoiled = [word for word in changed if word not in kept]
    assert {layout.PUSHED, layout.REALS + layout.RECEIVED_SHARE} <= set(spoiled)
    assert one.look()
    assert other.look()
    second(other)[spoiled] = np.where(
        np.array(spoiled) < layout.REALS, 3, np.float64(0.123).view(int)
    )
    one.prepare()
    other.prepare()
    for word in extend.SWAPPED + tuple(w for w in extend_network.SWAPPED if one.block[w]):
        np.testing.assert_array_equal(array_of(other, word), array_of(one, word), str(word))
    states = slice(extend_network.SERVED, extend_network.ANSWERED + 1)
    np.testing.assert_array_equal(second(other)[states], second(one)[states])


@pytest.mark.parametrize("later", [1, 2, 9])
def test_packets_may_be_pushed_while_a_burst_is_prepared_apart(later: int) -> None:
    """The set is made for a moment that is over, and burst after burst begins meanwhile."""
    prepared, plain = pair(16_000, 1, 320, BESIDE)
    seen = False
    for k, packet in enumerate(signal_of(16_000, 1, 320, "speech")):
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
    packets = signal_of(16_000, 1, 320, "speech")
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
    packets = signal_of(16_000, 1, 320, "speech")
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
    own = [*extend.SWAPPED, *(word for word in extend_network.SWAPPED if block[word])]
    assert layout.MUSIC_NET + gap.MADE in own
    shared = {layout.WINDOWS, layout.SPEECH_NET + gap.LOST, extend_network.ENTER_RAMP}
    beside = {
        layout.RING,
        extend_network.WORK,
        layout.FIT_PAST,
        extend_music.HEARD,
        extend_music.MATCHED,
    }
    end = block[layout.SECOND] + 8 * layout.HEADER
    for word in own:
        assert end <= second(prepared)[word] + block[layout.SECOND] < block[layout.SIZE]
    for word in shared | beside:
        apart = second(prepared)[word] + block[layout.SECOND] != block[word]
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
    for packet in signal_of(16_000, 1, 320, "speech")[:50]:
        prepared.push(packet)
    at = int(prepared.block[layout.POSITION] + 320)
    assert_allocates_nothing(preparation.look, (prepared.block, at))
    model = model_for(16_000)
    assert model is not None
    preparing = prepared.block, model.ctypes.data, networks.PREPARES
    assert_allocates_nothing(networks.fill_part, preparing)
