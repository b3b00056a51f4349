"""The words and arrays of a block, declared one after another in a table, and views of them.

A block is a row of 64-bit words. Some hold numbers; others, the place of an array within the block
in bytes. Declaring one gives its number, a plain int, which is a constant for numba. Each has a
text, of which docs/block.md is made::

    table = BlockTable()
    CHANNELS = table.word("Number of channels.")
    RING = table.array("The samples played last.", np.float32, CHANNELS, fixed(480))
    array = view_of(table)  # in kernels: array(block, RING), shape (block[CHANNELS], 480)
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from plc_kernels.build.compile import (
    RequireLiteralValue,
    cgutils,
    from_dtype,
    intrinsic,
    ir,
    part,
    populate_array,
    types,
)

Block = NDArray[np.int64]

_MOST_DIMENSIONS = 4
# Tables are constants of the compiled code, of which a page fetches each byte.
_ROW = np.int16


def fixed(length: int) -> int:
    """Return an extent that is the same in all blocks, as tables have it: a negative one.

    Longer ones than the numbers of a row can be are words.
    """
    if not 0 < length <= np.iinfo(_ROW).max:
        raise ValueError(f"length is {length}; give a word for it")
    return -length


class BlockTable:
    """Numbers words as they are declared, and knows dtype and shape of the arrays.

    Parameters
    ----------
    first : int, number of the first word
    stop : int or None
        Number that the words must stay below; None: there is none.

    Attributes
    ----------
    next : int, number of the next word
    arrays : dict of (dtype, tuple of int)
        By the word that holds its place: dtype and extents of an array, each the word that holds
        it, or :func:`fixed`.
    """

    def __init__(self, first: int = 0, stop: int | None = None) -> None:
        self.next = first
        self._stop = stop
        self.arrays: dict[int, tuple[np.dtype[Any], tuple[int, ...]]] = {}

    def word(self, text: str, count: int = 1) -> int:
        """Return the number of the next word, which ``text`` explains; take ``count`` of them."""
        if not text.strip():
            raise ValueError("a word needs a text")
        first, self.next = self.next, self.next + count
        if self._stop is not None and self.next > self._stop:
            raise ValueError(f"{self.next - self._stop} words more than there is room for")
        return first

    def array(self, text: str, dtype: DTypeLike, *shape: int) -> int:
        """Return the word that holds an array's place.

        ``text`` says what it holds; ``shape`` are words that hold the extents, or :func:`fixed`; at
        most four.
        """
        word = self.word(text)
        self.arrays[word] = np.dtype(dtype), shape
        return word

    def room(self, text: str, count: int) -> "BlockTable":
        """Return a table of the next words, whose arrays are of this table, too."""
        part = BlockTable(self.word(text, count), self.next)
        part.arrays = self.arrays
        return part

    def include(self, other: "BlockTable", at: int | None = None) -> int:
        """Take all words of another table, whose first is 0, and return the first of them here.

        ``at``, if given, is the first of words that were taken already.
        """
        first = self.word("Words of another table.", other.next) if at is None else at
        for word, (dtype, shape) in other.arrays.items():
            extents = tuple(extent + first if extent >= 0 else extent for extent in shape)
            self.arrays[first + word] = dtype, extents
        return first

    def rows(self, words: Iterable[int]) -> NDArray[np.int16]:
        """Return the arrays among some words, in their order, for :func:`place_arrays`.

        They are int16, shape (arrays, 6): word, bytes of a number, and extents, as many as there
        are and ones.
        """
        rows = []
        for word in sorted(self.arrays.keys() & set(words)):
            dtype, shape = self.arrays[word]
            ones = [fixed(1)] * (_MOST_DIMENSIONS - len(shape))
            rows.append((word, dtype.itemsize, *shape, *ones))
        return np.array(rows, _ROW)

    def view(self, block: Block, word: int) -> NDArray[Any]:
        """Return an array of a block."""
        dtype, shape = self.arrays[word]
        extents = [int(block[extent]) if extent >= 0 else -extent for extent in shape]
        begin, size = int(block[word]), math.prod(extents) * dtype.itemsize
        return block.view(np.uint8)[begin : begin + size].view(dtype).reshape(extents)


@part
def array_bytes(block: Block, base: int, row: NDArray[np.int16]) -> int:
    """Return the bytes that an array takes: a multiple of 64.

    ``block`` is int64, shape (n,); the words of the table are counted from ``base``; ``row`` is
    int16, shape (6,), of :meth:`BlockTable.rows`.
    """
    size = int(row[1])
    for k in range(2, row.size):
        extent = int(row[k])
        size *= block[base + extent] if extent >= 0 else -extent
    return int((size + 63) // 64 * 64)


@part
def place_arrays(block: Block, base: int, rows: NDArray[np.int16], at: int) -> int:
    """Write where arrays lie, one after another from a byte on; return the byte behind them.

    ``block`` is int64, shape (n,); the words of the table are counted from ``base``; ``rows`` are
    int16, shape (arrays, 6), of :meth:`BlockTable.rows`; ``at`` is a multiple of 64.
    """
    for k in range(rows.shape[0]):
        block[base + rows[k, 0]] = at
        at += array_bytes(block, base, rows[k])
    return at


def _array_at(context: Any, builder: Any, array: Any, address: Any, sizes: list[Any]) -> Any:
    itemsize = context.get_abi_sizeof(context.get_data_type(array.dtype))
    strides = [context.get_constant(types.intp, itemsize)]
    for size in reversed(sizes[1:]):
        strides.insert(0, builder.mul(strides[0], size))
    made = context.make_array(array)(context, builder)
    populate_array(
        made,
        data=builder.bitcast(address, made.data.type),
        shape=sizes,
        strides=strides,
        itemsize=itemsize,
        meminfo=None,
    )
    return made._getvalue()


def _begin_of(context: Any, builder: Any, memory: Any, block: Any) -> Any:
    return context.make_array(memory)(context, builder, block).data


def _placed(builder: Any, begin: Any, word: Any) -> Any:
    """Return the pointer to the array whose place a word of a block holds."""
    offset = builder.load(builder.gep(begin, [word]))
    return builder.gep(builder.bitcast(begin, ir.IntType(8).as_pointer()), [offset])


def view_of(table: BlockTable) -> Callable[..., NDArray[Any]]:
    """Return the maker of views of a table's arrays, for kernels.

    ``array(block, WORD)`` has the dtype and the shape that the table says. WORD is a constant. With
    ``array(block, WORD, base)`` the table's words are counted from another one than the first.
    """

    @intrinsic(prefer_literal=True)
    def array(_context: Any, memory: Any, word: Any, base: Any = None) -> Any:
        if not isinstance(word, types.IntegerLiteral):
            raise RequireLiteralValue("the word of an array is a constant")
        dtype, shape = table.arrays[word.literal_value]
        made = types.Array(from_dtype(dtype), len(shape), "C")

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            begin = _begin_of(context, builder, memory, arguments[0])

            def at(number: int) -> Any:
                constant = context.get_constant(types.intp, number)
                return builder.add(arguments[2], constant) if with_base else constant

            sizes = [
                builder.load(builder.gep(begin, [at(extent)]))
                if extent >= 0
                else context.get_constant(types.intp, -extent)
                for extent in shape
            ]
            place = _placed(builder, begin, at(word.literal_value))
            return _array_at(context, builder, made, place, sizes)

        with_base = isinstance(base, types.Integer)
        return made(memory, word, types.intp if with_base else types.none), generate

    return array


def viewer(dtype: Any, dimensions: int) -> Callable[..., NDArray[Any]]:
    """Return a maker of arrays at an address, or of other shapes than a block's table has.

    It is called with the block and the word that holds the array's place, or with an address and 0,
    and then with the array's shape.
    """

    @intrinsic
    def view(_context: Any, memory: Any, word: Any, shape: Any) -> Any:
        array = types.Array(dtype, dimensions, "C")

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place, where, extent = arguments
            if isinstance(memory, types.Array):
                begin = _begin_of(context, builder, memory, place)
                address = _placed(builder, begin, where)
            else:
                address = builder.inttoptr(place, ir.IntType(8).as_pointer())
            sizes = cgutils.unpack_tuple(builder, extent) if dimensions > 1 else [extent]
            return _array_at(context, builder, array, address, sizes)

        extents = types.intp if dimensions == 1 else types.UniTuple(types.intp, dimensions)
        place = memory if isinstance(memory, types.Array) else types.intp
        return array(place, types.intp, extents), generate

    return view


floats = viewer(types.float32, 1)
"""``floats(block, WORD, n)``: float32, shape (n,)."""
float_rows = viewer(types.float32, 2)
"""``float_rows(block, WORD, (rows, n))``: float32, shape (rows, n)."""
doubles = viewer(types.float64, 1)
words = viewer(types.int64, 1)
integer_rows = viewer(types.int16, 2)
halves = viewer(types.uint16, 1)
"""float16 numbers, as their bits."""
bits = viewer(types.uint32, 1)
"""float32 numbers, as their bits."""
