# SPDX-License-Identifier: Apache-2.0
"""Inner loops of sparse convolution: register tiles in LLVM vector code, driven by numba.

A tile holds six rows of one strip of columns (6 x 16 floats, 6 x 8 doubles) in vector registers
while it walks the summed axis once; what is left over takes tiles of two rows and of one. Rows are
addressed through pair lists, so nothing is gathered into buffers and no product is written out.
numba has no vector types of its own, hence the two intrinsics.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as typed_intrinsic

from lidistill.jit import njit

# its stub counts the typing context as an argument of the call
intrinsic: Any = typed_intrinsic

STRIP_BYTES = 64


def strip(element_size: int) -> int:
    """Columns of one register tile: 16 floats or 8 doubles."""
    return STRIP_BYTES // element_size


class _Tile:
    """IR builder for ``acc[r] += splat(scalar[r]) * vector`` inside a counted loop."""

    def __init__(self, context: Any, builder: Any, dtype: Any, rows: int) -> None:
        self.builder = builder
        self.element = context.get_data_type(dtype)
        lanes = STRIP_BYTES // context.get_abi_sizeof(self.element)
        self.vector = ir.VectorType(self.element, lanes)
        self.lanes = lanes
        self.rows = rows
        name = f"llvm.fmuladd.v{lanes}f{512 // lanes}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self.multiply_add = cgutils.get_or_insert_function(builder.module, kind, name)

    def at(self, base: Any, index: Any) -> Any:
        """Pointer to element ``index`` behind ``base``."""
        return self.builder.gep(base, [index])

    def load(self, pointer: Any) -> Any:
        """One strip, at any alignment of an element."""
        vector = self.builder.bitcast(pointer, self.vector.as_pointer())
        return self.builder.load(vector, align=4)

    def store(self, value: Any, pointer: Any) -> None:
        """One strip, at any alignment of an element."""
        vector = self.builder.bitcast(pointer, self.vector.as_pointer())
        self.builder.store(value, vector, align=4)

    def splat(self, pointer: Any) -> Any:
        """The scalar at ``pointer`` in every lane."""
        scalar = self.builder.load(pointer)
        undefined = ir.Constant(self.vector, ir.Undefined)
        zero = ir.Constant(ir.IntType(32), 0)
        first = self.builder.insert_element(undefined, scalar, zero)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, lanes)

    def run(self, count: Any, targets: list, step: Any) -> None:
        """Add to the strips at ``targets`` what ``step(index)`` gives: scalars and a vector."""
        accumulators = [
            cgutils.alloca_once_value(self.builder, self.load(target)) for target in targets
        ]
        with cgutils.for_range(self.builder, count) as loop:
            scalars, vector = step(loop.index)
            for accumulator, scalar in zip(accumulators, scalars, strict=True):
                old = self.builder.load(accumulator)
                new = self.builder.call(self.multiply_add, [self.splat(scalar), vector, old])
                self.builder.store(new, accumulator)
        for accumulator, target in zip(accumulators, targets, strict=True):
            self.store(self.builder.load(accumulator), target)


def _data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).data


def _width(context: Any, builder: Any, array_type: Any, array: Any, axis: int = -1) -> Any:
    shape = context.make_array(array_type)(context, builder, array).shape
    return builder.extract_value(shape, axis % array_type.ndim)


def _row(builder: Any, rows: Any, index: Any, offset: int, width: Any) -> Any:
    """``rows[index + offset] * width`` as a pointer-sized integer."""
    at = builder.add(index, ir.Constant(index.type, offset))
    row = builder.sext(builder.load(builder.gep(rows, [at])), width.type)
    return builder.mul(row, width)


@intrinsic
def _multiply_rows(typingctx, rows, x, weight, out, ins, outs, pair, start, column):  # type: ignore[no-untyped-def]
    """``out[outs[p], column:] += x[ins[p]] @ strip at start``, ``rows`` pairs from ``pair`` on."""
    if not isinstance(rows, types.IntegerLiteral):
        return None
    count = rows.literal_value
    signature = types.void(rows, x, weight, out, ins, outs, pair, start, column)

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        _, x_value, w_value, out_value, in_value, out_rows, at, w_at, col = args
        tile = _Tile(context, builder, x.dtype, count)
        depth = _width(context, builder, x, x_value)
        width = _width(context, builder, out, out_value)
        in_rows = _data(context, builder, ins, in_value)
        out_rows = _data(context, builder, outs, out_rows)
        x_data = _data(context, builder, x, x_value)
        out_data = tile.at(_data(context, builder, out, out_value), col)
        w_data = tile.at(_data(context, builder, weight, w_value), w_at)
        sources = [tile.at(x_data, _row(builder, in_rows, at, r, depth)) for r in range(count)]
        targets = [tile.at(out_data, _row(builder, out_rows, at, r, width)) for r in range(count)]

        def step(index):  # type: ignore[no-untyped-def]
            lane = builder.mul(index, ir.Constant(index.type, tile.lanes))
            return [tile.at(s, index) for s in sources], tile.load(tile.at(w_data, lane))

        tile.run(depth, targets, step)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _multiply_outer(  # type: ignore[no-untyped-def]  # noqa: PLR0913
    typingctx, size, rows, columns, out, row_ids, column_ids, pair, count, row, at
):
    """``out[row + r, at:] += sum_p rows[row_ids[p], row + r] * columns[column_ids[p], at:]``.

    For ``size`` rows ``r`` and ``count`` pairs from ``pair`` on. ``out`` is (R, K, C) and ``at``
    counts in its last two axes, so ``columns`` is read at ``at`` modulo C.
    """
    if not isinstance(size, types.IntegerLiteral):
        return None
    tile_rows = size.literal_value
    signature = types.void(size, rows, columns, out, row_ids, column_ids, pair, count, row, at)

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        _, rows_value, columns_value, out_value, row_at, column_at, first, number, top, left = args
        tile = _Tile(context, builder, rows.dtype, tile_rows)
        height = _width(context, builder, rows, rows_value)
        width = _width(context, builder, columns, columns_value)
        stride = builder.mul(width, _width(context, builder, out, out_value, axis=1))
        row_at = tile.at(_data(context, builder, row_ids, row_at), first)
        column_at = tile.at(_data(context, builder, column_ids, column_at), first)
        row_data = tile.at(_data(context, builder, rows, rows_value), top)
        column_data = _data(context, builder, columns, columns_value)
        column_data = tile.at(column_data, builder.urem(left, width))
        out_data = tile.at(_data(context, builder, out, out_value), left)
        steps = [ir.Constant(top.type, r) for r in range(tile_rows)]
        targets = [tile.at(out_data, builder.mul(builder.add(top, r), stride)) for r in steps]

        def step(index):  # type: ignore[no-untyped-def]
            source = tile.at(row_data, _row(builder, row_at, index, 0, height))
            vector = tile.load(tile.at(column_data, _row(builder, column_at, index, 0, width)))
            return [tile.at(source, r) for r in steps], vector

        tile.run(number, targets, step)
        return context.get_dummy_value()

    return signature, codegen


@njit
def multiply(x, weight, bias, pairs, out, block, first, last):  # type: ignore[no-untyped-def]
    """Blocks ``first`` to ``last`` of ``out = bias + sum over pairs of x[in] @ weight[k]``.

    Args:
        x: (V_in, Cin).
        weight: (K, Cout / strip, Cin, strip) packed, flat.
        bias: (Cout,).
        pairs: `PairTable.pairs`: ins (P,), outs (P,), out_starts (K, blocks + 1), out_order.
        out: (V_out, Cout), written.
        block: output ranks of a block.
        first: first block.
        last: behind the last block.
    """
    ins, outs, starts, order = pairs
    lanes = STRIP_BYTES // x.itemsize
    depth, width = x.shape[1], out.shape[1]
    for b in range(first, last):
        for rank in range(b * block, min((b + 1) * block, order.shape[0])):
            out[order[rank]] = bias
        for k in range(starts.shape[0]):
            begin, end = starts[k, b], starts[k, b + 1]
            for column in range(0, width, lanes):
                at = (k * width + column) * depth
                p = begin
                while p + 6 <= end:
                    _multiply_rows(6, x, weight, out, ins, outs, p, at, column)
                    p += 6
                while p + 2 <= end:
                    _multiply_rows(2, x, weight, out, ins, outs, p, at, column)
                    p += 2
                if p < end:
                    _multiply_rows(1, x, weight, out, ins, outs, p, at, column)


@njit
def outer(rows, columns, pairs, out, parts, group, first, last):  # type: ignore[no-untyped-def]
    """Sum over pairs of ``outer(rows[out], columns[in])``, for the items ``first`` to ``last``.

    Args:
        rows: (V_out, R), one scalar a row of ``out``.
        columns: (V_in, C), one vector a column strip of ``out``.
        pairs: `PairTable.pairs`: ins (P,), outs (P,), out_starts (K, blocks + 1), out_order.
        out: (R, K, C), written.
        parts: pieces that the R rows are cut into; item ``k * parts + part`` is one piece of one k.
        group: blocks done for all items together, while their rows are in the cache.
        first: first item.
        last: behind the last item.
    """
    ins, outs, starts, _ = pairs
    lanes = STRIP_BYTES // rows.itemsize
    height, width = out.shape[0], out.shape[2]
    blocks = starts.shape[1] - 1
    chunk = 64 if width <= 64 else 32  # pairs that one tile walks: their rows stay in L1
    piece = (height + 6 * parts - 1) // (6 * parts) * 6
    for b in range(0, max(blocks, 1), group):
        for item in range(first, last):
            k, top = item // parts, item % parts * piece
            bottom = min(top + piece, height)
            if b == 0:
                for row in range(top, bottom):
                    out[row, k] = 0
            end = starts[k, min(b + group, blocks)]
            for p in range(starts[k, b], end, chunk):
                count = min(chunk, end - p)
                for at in range(k * width, (k + 1) * width, lanes):
                    row = top
                    while row + 6 <= bottom:
                        _multiply_outer(6, rows, columns, out, outs, ins, p, count, row, at)
                        row += 6
                    while row + 2 <= bottom:
                        _multiply_outer(2, rows, columns, out, outs, ins, p, count, row, at)
                        row += 2
                    if row < bottom:
                        _multiply_outer(1, rows, columns, out, outs, ins, p, count, row, at)
