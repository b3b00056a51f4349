import numpy as np
import pytest

from plc_kernels.build.compile import kernel
from plc_kernels.stream import gap, layout
from plc_kernels.stream.arrays import Block, BlockTable, fixed, place_arrays, view_of

TABLE = BlockTable()
PACKET = TABLE.word("Samples.")
CHANNELS = TABLE.word("Samples.")
RING = TABLE.array("Rows.", np.float32, CHANNELS, fixed(3), PACKET)
COUNTS = TABLE.array("Rows.", np.int64, PACKET)
INNER = BlockTable()
SIZE = INNER.word("Rows.")
BYTES = INNER.array("Bytes.", np.int8, SIZE, fixed(5))
AT = TABLE.include(INNER)
ROWS = TABLE.rows(TABLE.arrays)
array, inner = view_of(TABLE), view_of(INNER)


@kernel
def lay_out(block: Block) -> int:
    return int(place_arrays(block, 0, ROWS, 64))


@kernel
def number(block: Block) -> int:
    rows, counts, table = array(block, RING), array(block, COUNTS), inner(block, BYTES, AT)
    rows[1, 2, 3] = 1.5
    counts[3] = 4
    table[6, 4] = 5
    return int(rows.size + 1000 * counts.size + 1_000_000 * table.size)


def block_of(packet: int = 4, channels: int = 2, size: int = 7) -> Block:
    block = np.zeros(64, np.int64)
    block[[PACKET, CHANNELS, AT + SIZE]] = packet, channels, size
    return block


def test_words_are_numbered_as_they_are_declared() -> None:
    assert list(range(6)) == [PACKET, CHANNELS, RING, COUNTS, AT + SIZE, AT + BYTES]
    assert TABLE.next == 6


def test_arrays_lie_one_after_the_other_at_multiples_of_64_bytes() -> None:
    block = block_of()
    assert lay_out(block) == 64 + 128 + 64 + 64
    assert block[[RING, COUNTS, AT + BYTES]].tolist() == [64, 192, 256]


def test_kernels_and_python_see_the_same_arrays() -> None:
    block = block_of()
    lay_out(block)
    assert number(block) == 24 + 1000 * 4 + 1_000_000 * 35
    views = [TABLE.view(block, word) for word in (RING, COUNTS, AT + BYTES)]
    assert [view.shape for view in views] == [(2, 3, 4), (4,), (7, 5)]
    assert [view.dtype for view in views] == [np.float32, np.int64, np.int8]
    assert [views[0][1, 2, 3], views[1][3], views[2][6, 4]] == [1.5, 4, 5]
    assert all(np.count_nonzero(view) == 1 for view in views)


def test_words_beyond_the_room_are_refused() -> None:
    table = BlockTable()
    room = table.room("Two.", 2)
    assert room.array("Row.", np.float32, room.word("One.")) == 1
    assert table.arrays == {1: (np.dtype(np.float32), (0,))}
    with pytest.raises(ValueError, match="1 words more than there is room for"):
        room.word("One.")


def test_a_word_without_a_text_is_refused() -> None:
    for declare in (BlockTable().word, lambda text: BlockTable().array(text, np.int8)):
        with pytest.raises(ValueError, match="needs a text"):
            declare(" ")


def test_the_stream_has_each_array_once() -> None:
    words = sorted(layout.TABLE.arrays)
    assert len(words) > 100
    assert words[-1] < layout.HEADER
    assert layout.HEADER % 8 == 0
    for net in (layout.SPEECH_NET, layout.MUSIC_NET, layout.BRIDGE_NET):
        assert {net + word for word in gap.WORKED_IN} <= set(words)
    assert layout.PREPARED_AT not in words
