"""The product of a layer: rows times weights, with its sums in registers.

Loops over arrays reach two thirds of the speed, as their sums go through memory. A tile is written
as LLVM's vectors of 16 numbers instead, which become two registers of AVX2, one of AVX-512, four
of NEON or of WebAssembly. Weights lie in *panels* of 16 outputs, each of shape (inputs, 16), in the
order in which they are read.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numpy.typing import NDArray

from plc_kernels.compile import part

LANES = 16
"""Outputs of a panel."""
TILE_ROWS = 6
"""Rows of a product that has more than one: no fewer."""
TILE_PANELS = 4
"""Panels of a product of one row: no fewer."""

Reals = NDArray[np.float32]


def _make_row(_context: Any, array: Any, at: Any, count: Any) -> Any:
    """Return the signature of :data:`row`, and its generator."""

    def generate(context: Any, build: Any, signature: Any, given: Any) -> Any:
        from_array, begin, size = given
        made = context.make_array(array)(context, build)
        item = context.get_constant(types.intp, 4)
        populate_array(
            made,
            data=build.gep(context.make_array(array)(context, build, from_array).data, [begin]),
            shape=[size],
            strides=[item],
            itemsize=item,
            meminfo=None,
        )
        return made._getvalue()

    return array(array, types.intp, types.intp), generate


row: Any = intrinsic(_make_row)
"""``row(array, at, count)``: a part of a float32 array; slices take numba longer to compile."""


def _tile(rows: int, panels: int) -> Any:
    """Return the kernel ``y = begin + x w`` of some rows and panels.

    ``tile(x, x_step, w, count, begin, begin_step, y, y_step)``: a step is the distance of rows.
    """

    @intrinsic
    def tile(
        _context: Any,
        x: Any,
        x_step: Any,
        w: Any,
        count: Any,
        begin: Any,
        begin_step: Any,
        y: Any,
        y_step: Any,
    ) -> Any:
        signature = types.void(x, types.intp, w, types.intp, begin, types.intp, y, types.intp)

        def generate(context: Any, build: Any, sig: Any, given: Any) -> Any:
            data = [
                context.make_array(sig.args[k])(context, build, given[k]).data for k in (0, 2, 4, 6)
            ]
            _generate_tile(build, rows, panels, *data, *(given[k] for k in (1, 3, 5, 7)))
            return context.get_dummy_value()

        return signature, generate

    return tile


def _generate_tile(
    build: Any,
    rows: int,
    panels: int,
    x: Any,
    w: Any,
    begin: Any,
    y: Any,
    x_step: Any,
    count: Any,
    begin_step: Any,
    y_step: Any,
) -> None:
    """Write a tile at a builder's place: sums begin, a loop over the inputs, sums end."""
    real, word = ir.FloatType(), ir.IntType(64)
    vector = ir.VectorType(real, LANES)
    undefined = ir.Constant(vector, ir.Undefined)
    first_lane = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

    def places(base: Any, step: Any) -> list[Any]:
        starts = (build.gep(base, [build.mul(step, word(r))]) for r in range(rows))
        return [build.gep(row, [word(LANES * p)]) for row in starts for p in range(panels)]

    def load(place: Any) -> Any:
        read = build.load(build.bitcast(place, vector.as_pointer()))
        read.align = 4
        return read

    inputs = [build.gep(x, [build.mul(x_step, word(r))]) for r in range(rows)]
    weights = [build.gep(w, [build.mul(count, word(LANES * p))]) for p in range(panels)]
    begun = [load(place) for place in places(begin, begin_step)]
    before = build.block
    loop, after = build.append_basic_block("inputs"), build.append_basic_block("written")
    build.branch(loop)
    build.position_at_end(loop)
    k = build.phi(word)
    k.add_incoming(word(0), before)
    sums = [build.phi(vector) for _ in begun]
    for each, value in zip(sums, begun, strict=True):
        each.add_incoming(value, before)
    read = [load(build.gep(place, [build.mul(k, word(LANES))])) for place in weights]
    made = []
    for r in range(rows):
        one = build.insert_element(
            undefined, build.load(build.gep(inputs[r], [k])), ir.IntType(32)(0)
        )
        spread = build.shuffle_vector(one, undefined, first_lane)
        for p in range(panels):
            product = build.fmul(spread, read[p], flags=("contract",))
            made.append(build.fadd(sums[r * panels + p], product, flags=("contract",)))
    following = build.add(k, word(1))
    k.add_incoming(following, loop)
    for each, value in zip(sums, made, strict=True):
        each.add_incoming(value, loop)
    build.cbranch(build.icmp_signed("<", following, count), loop, after)
    build.position_at_end(after)
    for place, value in zip(places(y, y_step), made, strict=True):
        build.store(value, build.bitcast(place, vector.as_pointer())).align = 4


_rows_by_panel, _row_by_panels = _tile(TILE_ROWS, 1), _tile(1, TILE_PANELS)


@part
def multiply(
    x: Reals,
    x_step: int,
    rows: int,
    w: Reals,
    count: int,
    panels: int,
    begin: Reals,
    begin_step: int,
    y: Reals,
    y_step: int,
) -> None:
    """Write ``y = begin + x w``; the last tile may do again what was done.

    Parameters
    ----------
    x : float32
        Rows of ``count`` inputs, ``x_step`` apart: where it is less, they overlap, as the rows of
        a convolution do.
    rows : int
        1, or at least :data:`TILE_ROWS`.
    w : float32
        ``panels`` panels, for one row at least :data:`TILE_PANELS`.
    begin : float32
        What sums begin with, rows ``begin_step`` apart: 0 is one bias for all rows.
    y : float32, written
        Rows of ``16 * panels`` numbers, ``y_step`` apart; apart from all that is read.
    """
    if rows == 1:
        for p in range(0, panels, TILE_PANELS):
            k = min(p, panels - TILE_PANELS) * LANES
            _row_by_panels(
                x,
                x_step,
                row(w, k * count, w.size - k * count),
                count,
                row(begin, k, begin.size - k),
                begin_step,
                row(y, k, y.size - k),
                y_step,
            )
        return
    for p in range(panels):
        k = p * LANES
        panel = row(w, k * count, LANES * count)
        for tile in range(0, rows, TILE_ROWS):
            r = min(tile, rows - TILE_ROWS)
            _rows_by_panel(
                row(x, r * x_step, x.size - r * x_step),
                x_step,
                panel,
                count,
                row(begin, r * begin_step + k, LANES),
                begin_step,
                row(y, r * y_step + k, LANES),
                y_step,
            )


def in_panels(matrix: NDArray[np.floating[Any]]) -> Reals:
    """Return a matrix of shape (inputs, outputs) in panels, flat; zeros fill the last one up."""
    count, outputs = matrix.shape
    panels = -(-outputs // LANES)
    wide = np.zeros((count, panels * LANES), np.float32)
    wide[:, :outputs] = matrix
    flat: Reals = np.ascontiguousarray(wide.reshape(count, panels, LANES).transpose(1, 0, 2))
    return flat.ravel()
