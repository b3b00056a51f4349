"""The product of a layer: rows times weights, in whole numbers, with its sums in registers.

Weights are int8, with a scale for each output; inputs become whole steps of at most :data:`STEPS`,
as int16. Products of pairs are summed in int32, so a sum is the same in whatever order it is taken,
and a layer the same to the last bit on every processor. Weights lie in *panels* of 16 outputs, each
of shape (pairs of inputs, 16, 2), in the order in which they are read. A tile is written as LLVM's
vectors of 16 sums: an instruction multiplies and adds the pairs of 4 (SSE), 8 (AVX2) or 16 of them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build import denormals
from plc_kernels.build.compile import intrinsic, ir, part, populate_array, rounded_part, types

LANES = 16
"""Outputs of a panel."""
TILE_ROWS = 6
"""Rows of a product that has more than one: no fewer."""
TILE_PANELS = 4
"""Panels of a product of one row: no fewer."""
STEPS, _WEIGHT_STEPS = 4095, 127
"""Steps that the largest input has, and the largest weight of an output."""
MOST_INPUTS = (2**31 - 1) // (STEPS * _WEIGHT_STEPS)
"""No sum of so many products is too large for int32; one of more begins anew from the least."""
PAIRS = "plck_pairs"
"""Function of two vectors of int16 that WebAssembly's code calls, and whoever emits it defines."""

F = np.float32
_ZERO, _STEPS, _LEAST = F(0.0), F(STEPS), F(1e-30)
# Added to a small number, it leaves the number's nearest integer in the lowest bits.
_ROUNDING = 1.5 * 2.0**23
_NO_STEP: Any = np.int64(0)

Reals = NDArray[np.float32]
Steps = NDArray[np.int16]


def _part_of(item_type: Any) -> Any:
    def make(_context: Any, array: Any, at: Any, count: Any) -> Any:
        made_type = types.Array(item_type, 1, "C")

        def generate(context: Any, build: Any, signature: Any, given: Any) -> Any:
            from_array, begin, size = given
            made = context.make_array(made_type)(context, build)
            place = build.gep(context.make_array(array)(context, build, from_array).data, [begin])
            item = context.get_constant(types.intp, item_type.bitwidth // 8)
            populate_array(
                made,
                data=build.bitcast(place, made.data.type),
                shape=[size],
                strides=[item],
                itemsize=item,
                meminfo=None,
            )
            return made._getvalue()

        return made_type(array, types.intp, types.intp), generate

    return intrinsic(make)


row: Any = _part_of(types.float32)
"""``row(array, at, count)``: a part of a float32 array; slices take numba longer to compile."""
steps: Any = _part_of(types.int16)
"""``steps(array, at, count)``: as many int16 numbers, from an array's number ``at`` on."""


def _make_larger(_context: Any, _a: Any, _b: Any) -> Any:
    """Return the signature of :data:`_larger`, and its generator."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        whole = ir.IntType(32)
        one, other = (build.bitcast(each, whole) for each in given)
        other = build.and_(other, whole(0x7FFFFFFF))
        more = build.select(build.icmp_signed(">", other, one), other, one)
        return build.bitcast(more, ir.FloatType())

    return types.float32(types.float32, types.float32), generate


def _make_rounded(_context: Any, _x: Any) -> Any:
    """Return the signature of :data:`_rounded`, and its generator."""

    def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
        moved = build.fadd(given[0], ir.FloatType()(_ROUNDING))
        return build.trunc(build.bitcast(moved, ir.IntType(32)), ir.IntType(16))

    return types.int16(types.float32), generate


_larger: Any = intrinsic(_make_larger)
"""``_larger(a, b)``: of ``a`` and the magnitude of ``b``; NaN is larger than infinity."""
_rounded: Any = intrinsic(_make_rounded)
"""``_rounded(x)``: the nearest whole number, ties to even; of NaN, any."""


@rounded_part
def in_steps(x: Reals, x_step: int, rows: int, count: int, out: Steps) -> np.float32:
    """Write rows in whole steps, one behind the other; return the step's size.

    ``x``, float32, has rows of ``count`` numbers, ``x_step`` apart; ``out``, int16, is from
    -:data:`STEPS` to :data:`STEPS`.
    """
    largest = _ZERO
    for r in range(rows):
        these = row(x, r * x_step, count)
        for k in range(count):
            largest = _larger(largest, these[k])
    share = _STEPS / (largest if not largest < _LEAST else _LEAST)
    for r in range(rows):
        these = row(x, r * x_step, count)
        for k in range(count):
            out[r * count + k] = _rounded(these[k] * share)
    return largest / _STEPS


def _tile(rows: int, panels: int) -> Any:
    """Return the kernel ``y = begin + x w`` of some rows and panels.

    ``tile(x, x_step, w, pairs, scales, step, begin, begin_step, y, y_step)``: steps with a place
    before them are distances of rows, that alone is the size of one of the inputs.
    """

    @intrinsic
    def tile(
        _context: Any,
        x: Any,
        x_step: Any,
        w: Any,
        pairs: Any,
        scales: Any,
        step: Any,
        begin: Any,
        begin_step: Any,
        y: Any,
        y_step: Any,
    ) -> Any:
        word = types.intp
        signature = types.void(x, word, w, word, scales, types.float32, begin, word, y, word)

        def generate(context: Any, build: Any, sig: Any, given: Any) -> Any:
            data = [
                context.make_array(sig.args[k])(context, build, given[k]).data
                for k in (0, 2, 4, 6, 8)
            ]
            distances = [given[k] for k in (1, 3, 5, 7, 9)]
            # x86 has 16 registers of 4 sums where a page runs.
            most = 2 if _for_pages() else max(rows, panels)
            for r in range(0, rows, most):
                for p in range(0, panels, most):
                    part_of = range(r, min(r + most, rows)), range(p, min(p + most, panels))
                    _generate_tile(build, *part_of, *data, *distances)
            return context.get_dummy_value()

        return signature, generate

    return tile


def _for_pages() -> bool:
    kind, elsewhere = denormals.generated_for()
    return bool(elsewhere and kind != "arm")


def _lanes(indices: Any) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(indices)), list(indices))


def _in_pairs(build: Any, a: Any, b: Any) -> Any:
    """Return the products of two vectors of int16, each two neighbours added, as int32.

    In the form that LLVM knows as instructions: of ARM one that multiplies and adds, of others one
    that multiplies and adds neighbours; for WebAssembly :data:`PAIRS`.
    """
    sums = ir.VectorType(ir.IntType(32), LANES)
    ends = [_lanes(range(first, 2 * LANES, 2)) for first in (0, 1)]
    kind, elsewhere = denormals.generated_for()
    if kind == "arm":
        halves = [
            build.mul(*(build.sext(build.shuffle_vector(each, each, end), sums) for each in (a, b)))
            for end in ends
        ]
    elif elsewhere:
        return denormals.outside(build, PAIRS, sums, [a, b])
    else:
        wide = ir.VectorType(ir.IntType(32), 2 * LANES)
        products = build.mul(build.sext(a, wide), build.sext(b, wide), flags=("nsw",))
        halves = [build.shuffle_vector(products, products, end) for end in ends]
    return build.add(*halves, flags=("nsw",))


def _generate_tile(
    build: Any,
    rows: range,
    panels: range,
    x: Any,
    w: Any,
    scales: Any,
    begin: Any,
    y: Any,
    x_step: Any,
    pairs: Any,
    step: Any,
    begin_step: Any,
    y_step: Any,
) -> None:
    """Write part of a tile at a builder's place: a loop over pairs, then sums begin and end."""
    real, word, whole = ir.FloatType(), ir.IntType(64), ir.IntType(32)
    vector, sums_type = ir.VectorType(real, LANES), ir.VectorType(whole, LANES)
    short = ir.VectorType(ir.IntType(16), 2 * LANES)

    def load(place: Any, type_: Any, align: int) -> Any:
        read = build.load(build.bitcast(place, type_.as_pointer()))
        read.align = align
        return read

    def spread(value: Any, type_: Any) -> Any:
        one = build.insert_element(ir.Constant(type_, ir.Undefined), value, whole(0))
        return build.shuffle_vector(one, one, _lanes([0] * LANES))

    def rows_of(base: Any, distance: Any) -> list[Any]:
        return [build.gep(base, [build.mul(distance, word(r))]) for r in rows]

    def places(base: Any, distance: Any) -> list[Any]:
        return [build.gep(at, [word(LANES * p)]) for at in rows_of(base, distance) for p in panels]

    inputs, bytes_ = rows_of(x, x_step), build.bitcast(w, ir.IntType(8).as_pointer())
    size = build.mul(pairs, word(2 * LANES))
    weights = [build.gep(bytes_, [build.mul(size, word(p))]) for p in panels]
    before = build.block
    loop, after = build.append_basic_block("inputs"), build.append_basic_block("written")
    build.branch(loop)
    build.position_at_end(loop)
    k = build.phi(word)
    k.add_incoming(word(0), before)
    sums = [build.phi(sums_type) for _ in range(len(rows) * len(panels))]
    at, pair = build.mul(k, word(2 * LANES)), build.mul(k, word(2))
    eight = ir.VectorType(ir.IntType(8), 2 * LANES)
    read = [build.sext(load(build.gep(place, [at]), eight, 1), short) for place in weights]
    made, sum_of = [], iter(sums)
    for of_row in inputs:
        both = spread(load(build.gep(of_row, [pair]), whole, 2), sums_type)
        both = build.bitcast(both, short)
        made += [build.add(next(sum_of), _in_pairs(build, both, each)) for each in read]
    following = build.add(k, word(1))
    k.add_incoming(following, loop)
    for each, value in zip(sums, made, strict=True):
        each.add_incoming(ir.Constant(sums_type, [0] * LANES), before)
        each.add_incoming(value, loop)
    build.cbranch(build.icmp_signed("<", following, pairs), loop, after)
    build.position_at_end(after)
    # No product is fused with a sum: not all processors can.
    factors = [
        build.fmul(load(build.gep(scales, [word(LANES * p)]), vector, 4), spread(step, vector))
        for p in panels
    ]
    begun = [load(place, vector, 4) for place in places(begin, begin_step)]
    for number, place in enumerate(places(y, y_step)):
        value = build.fmul(build.sitofp(made[number], vector), factors[number % len(panels)])
        value = build.fadd(begun[number], value)
        build.store(value, build.bitcast(place, vector.as_pointer())).align = 4


_rows_by_panel, _row_by_panels = _tile(TILE_ROWS, 1), _tile(1, TILE_PANELS)


@rounded_part
def multiply(
    x: Steps,
    x_step: int,
    rows: int,
    step: np.float32,
    w: Reals,
    scales: Reals,
    count: int,
    panels: int,
    begin: Reals,
    begin_step: int,
    y: Reals,
    y_step: int,
) -> None:
    """Write ``y = begin + x w``; the last tile may overlap the one before.

    Parameters
    ----------
    x : int16
        Rows of ``count`` inputs, ``x_step`` apart: where it is less, they overlap, as the rows of
        a convolution do. Where ``count`` is odd, one more number is read, and is of no account.
    rows : int
        1, or at least :data:`TILE_ROWS`.
    step : float, value of a 1 in the inputs
    w : float32
        ``panels`` panels of int8 numbers, for one row at least :data:`TILE_PANELS`.
    scales : float32, shape (16 * panels,)
    begin : float32
        Beginnings of the sums, rows ``begin_step`` apart: 0 is one bias for all rows.
    y : float32, written
        Rows of ``16 * panels`` numbers, ``y_step`` apart; apart from all that is read.
    """
    pairs = (count + 1) // 2
    size = pairs * LANES // 2
    if rows == 1:
        for p in range(0, panels, TILE_PANELS):
            first = min(p, panels - TILE_PANELS)
            k = first * LANES
            _row_by_panels(
                x,
                x_step,
                row(w, first * size, TILE_PANELS * size),
                pairs,
                row(scales, k, TILE_PANELS * LANES),
                step,
                row(begin, k, begin.size - k),
                begin_step,
                row(y, k, y.size - k),
                y_step,
            )
        return
    for p in range(panels):
        k = p * LANES
        for tile in range(0, rows, TILE_ROWS):
            r = min(tile, rows - TILE_ROWS)
            _rows_by_panel(
                steps(x, r * x_step, count),
                x_step,
                row(w, p * size, size),
                pairs,
                row(scales, k, LANES),
                step,
                row(begin, r * begin_step + k, LANES),
                begin_step,
                row(y, r * y_step + k, LANES),
                y_step,
            )


@rounded_part
def layer_from(
    weights: Reals,
    w: int,
    count: int,
    outputs: int,
    x: Steps,
    x_step: int,
    rows: int,
    step: np.float32,
    begin: Reals,
    begin_step: int,
    y: Reals,
    y_step: int,
) -> None:
    """Write a layer that lies at ``w`` as :func:`stored` makes it, from ``begin``, not its bias.

    Else as :func:`multiply`.
    """
    size = outputs * ((count + 1) // 2) // 2
    scales = row(weights, w + size, outputs)
    panels = row(weights, w, size), scales, count, outputs // LANES
    multiply(x, x_step, rows, step, *panels, begin, begin_step, y, y_step)


@rounded_part
def layer(
    weights: Reals,
    w: int,
    count: int,
    outputs: int,
    x: Steps,
    x_step: int,
    rows: int,
    step: np.float32,
    y: Reals,
    y_step: int,
) -> None:
    """Write a layer that lies at ``w`` as :func:`stored` makes it; else as :func:`multiply`."""
    bias = row(weights, w + outputs * ((count + 1) // 2) // 2 + outputs, outputs)
    layer_from(weights, w, count, outputs, x, x_step, rows, step, bias, _NO_STEP, y, y_step)


@part
def filled_up(n: int) -> int:
    """Return outputs in whole panels."""
    return (n + LANES - 1) // LANES * LANES


@part
def stored_size(count: int, outputs: int) -> int:
    """Return the numbers of a layer as :func:`stored` makes it."""
    return outputs * ((count + 1) // 2 + 4) // 2


def in_int8(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], Reals]:
    """Return a matrix of shape (inputs, outputs) in int8, and the scale of each output."""
    scales = np.abs(matrix).max(axis=0) / F(_WEIGHT_STEPS)
    return np.rint(matrix / np.maximum(scales, _LEAST)).astype(np.int8), scales


def in_panels(matrix: NDArray[np.int8]) -> Reals:
    """Return a matrix of shape (inputs, outputs) in panels, flat; zeros fill the last one up."""
    pairs, panels = -(-matrix.shape[0] // 2), -(-matrix.shape[1] // LANES)
    wide = np.zeros((2 * pairs, panels * LANES), np.int8)
    wide[: matrix.shape[0], : matrix.shape[1]] = matrix
    flat = wide.reshape(pairs, 2, panels, LANES).transpose(2, 0, 3, 1)
    return flat.ravel().view(np.float32)


def stored(matrix: NDArray[np.float32], bias: NDArray[np.float32]) -> Reals:
    """Return a layer as kernels read it: panels, scales, and the bias."""
    numbers, scales = in_int8(matrix)
    beyond = 0, -bias.size % LANES
    return np.concatenate([in_panels(numbers), np.pad(scales, beyond), np.pad(bias, beyond)])
