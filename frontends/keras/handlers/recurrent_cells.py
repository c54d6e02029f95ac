"""Convolutional LSTMs, written out step by step: no canonical operator runs a convolution in a recurrence."""

from __future__ import annotations

from uair import ops
from uair.frontends.keras.handlers.activation import FUNCTIONS, named
from uair.frontends.keras.handlers.convolution import convolve, padding_of
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.graph import Tensor

FAMILY = Family()

MAX_STEPS = 256
"""Steps that are written out; each is about 15 nodes."""


@FAMILY.op("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
def _conv_lstm(n: KerasNode) -> Result:
    """i, f, o = g(conv(x) + conv(h)); c = f * c + i * act(conv(x) + conv(h)); h = o * act(c)."""
    rank = int(n.op_type[8])
    x = n.xs[0]
    n.refuse_mask(x)
    n.require(not n.flag("stateful"), "a stateful layer keeps its state between calls")
    n.require(len(n.xs) == 1 and n.argument(1, "initial_state") is None, "initial_state is not expressed")
    steps = n.extent(x, 1)
    if not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        n.refuse(
            f"its steps are written out, for which their number must be known and at most {MAX_STEPS}; it is {steps}",
            "declare the number of steps in the model's input",
        )
    cell = KerasNode(n.importer, n.graph, n.layer.children["cell"], (), {}, policy=n.policy)
    images = [n.image(n.reshaped(p, (n.extent(x, 0), *n.shape(x)[2:])), rank) for p in _slices(n, x, steps)]
    if n.flag("go_backwards"):
        images.reverse()
    outputs, h, c = _unrolled(n, cell, images, rank)
    if n.flag("return_sequences"):
        shape = n.shape(n.picture(outputs[0]))
        stacked = [n.reshaped(n.picture(y), (shape[0], 1, *shape[1:])) for y in outputs]
        result = stacked[0] if steps == 1 else n(ops.Concat(axis=1), *stacked)
    else:
        result = n.picture(outputs[-1])
    return [result, n.picture(h), n.picture(c)] if n.flag("return_state") else result


def _slices(n: KerasNode, x: Tensor, steps: int) -> tuple[Tensor, ...]:
    return (x,) if steps == 1 else n.parts(x, 1, steps)


def _unrolled(n: KerasNode, cell: KerasNode, images: list[Tensor], rank: int) -> tuple[list[Tensor], Tensor, Tensor]:
    filters = n.integer("filters")
    size, ones = n.tuple_of("kernel_size", rank), (1,) * rank
    order = (rank + 1, rank, *range(rank))
    kernel = n.permuted(cell.variable("kernel", *size, n.extent(images[0], 1), 4 * filters), order)
    recurrent = n.permuted(cell.variable("recurrent_kernel", *size, filters, 4 * filters), order)
    bias = cell.maybe("bias", 4 * filters)
    outer, inner = (named(n, n.layer.config.get(e)).name for e in ("activation", "recurrent_activation"))
    h: Tensor | None = None
    c: Tensor | None = None
    outputs: list[Tensor] = []
    for x in images:
        gates = convolve(
            n,
            x,
            kernel,
            bias,
            padding=padding_of(n),
            strides=n.tuple_of("strides", rank, 1),
            dilations=n.tuple_of("dilation_rate", rank, 1),
        )
        if h is not None:
            more = convolve(n, h, recurrent, None, padding="same", strides=ones, dilations=ones)
            gates = n(ops.Add(), gates, more)
        i, f, g, o = n.parts(gates, 1, 4)
        new = n(ops.Mul(), FUNCTIONS[inner](n, i, {}), FUNCTIONS[outer](n, g, {}))
        c = new if c is None else n(ops.Add(), n(ops.Mul(), FUNCTIONS[inner](n, f, {}), c), new)
        h = n(ops.Mul(), FUNCTIONS[inner](n, o, {}), FUNCTIONS[outer](n, c, {}))
        outputs.append(h)
    assert h is not None and c is not None
    return outputs, h, c
