"""The search for dropouts in its own memory, against the kernel that it runs."""

import numpy as np
import pytest

from plc_kernels.signal.dropouts import STATE_WORDS, find_dropouts, skip_packet
from plc_kernels.stream.dropout_search import (
    HEAD,
    PARTS,
    PAST,
    SIZE,
    forget_search,
    lay_out_search,
    search,
    search_nothing,
)
from tests.signals import noise


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize(("rate", "channels", "packet"), [(8000, 1, 64), (22_050, 2, 1323)])
def test_the_same_parts_are_found(rate: int, channels: int, packet: int, integer: bool) -> None:
    count = 60
    signal = (0.3 * noise(rate, count * packet * channels)).reshape(-1, channels)
    for begin in range(10 * packet, len(signal), 7 * packet // 2):
        signal[begin : begin + rate // 250, : 1 + begin % channels] = 0.0
        source = begin - 2 * packet - rate // 100
        signal[begin - packet : begin - packet + rate // 200] = signal[source:][: rate // 200]
    cut = signal.reshape(count, packet, channels)
    packets = (32_768 * cut).astype(np.int16) if integer else cut.astype(np.float32)
    head = np.zeros(HEAD, np.int64)
    size = lay_out_search(np.array([rate, channels, packet]), head)
    memory = np.zeros(size // 8, np.int64)
    memory[:HEAD] = head
    past = int(head[PAST])
    lines = np.zeros((channels, past + packet), np.float32)
    states = np.zeros((channels, STATE_WORDS), np.int64)
    marked, wanted = np.zeros((channels, packet), np.int8), np.zeros(packet + 1, np.int64)
    found = 0
    for k, each in enumerate(packets):
        if k == 40:
            forget_search(memory)
            states[:] = 0
        if k % 19 == 18:
            search_nothing(memory)
            skip_packet(rate, packet, states)
            continue
        given = np.ascontiguousarray(each)
        parts = search(memory, given.ctypes.data, integer)
        ends = memory[memory[PARTS] // 8 :][: 2 * parts].reshape(-1, 2).tolist()
        lines[:, past:] = given.T.astype(np.float32) / (32_768.0 if integer else 1.0)
        assert parts == find_dropouts(rate, packet, lines, states, marked, wanted), k
        assert ends == wanted[: 2 * parts].reshape(-1, 2).tolist(), k
        found += parts
    assert found > 10
    assert memory[SIZE] == size
