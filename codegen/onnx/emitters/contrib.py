"""Operators of onnxruntime's domain com.microsoft, for files that onnxruntime is to run.

They are not among the emitters of ONNX: other tools read none of them, so that for those the decomposition is written
(`legalise-onnx`).
"""

from __future__ import annotations

from uair.codegen.onnx.emitters.recurrent import layer_attributes
from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dtype import DType
from uair.ops.recurrent_quantized import DynamicQuantizeLSTM

ONNXRUNTIME = Emitters()
"""Looked at before the emitters of ONNX."""


@ONNXRUNTIME.of(DynamicQuantizeLSTM)
def dynamic_quantize_lstm(e: Emission, op: DynamicQuantizeLSTM) -> None:
    """The node; onnxruntime takes one zero point alone, and 0 for columns of signed weights.

    Raises:
        NotExpressible: a zero point is another.
    """
    _require_one_zero_point(e, 4)
    _require_one_zero_point(e, 6)
    names = [*e.operands, *[None] * (12 - len(e.node.inputs))]
    x, w, r, w_scale, w_zero_point, r_scale, r_zero_point, bias, lengths, initial_h, initial_c, peepholes = names
    attributes = {**layer_attributes(e, op), "hidden_size": e.static_shape(2)[1], "input_forget": int(op.input_forget)}
    e.foreign(
        "com.microsoft::DynamicQuantizeLSTM",
        *(x, w, r, bias, None if lengths is None else e.cast(lengths, DType.I32), initial_h, initial_c, peepholes),
        *(w_scale, w_zero_point, r_scale, r_zero_point),
        **{name: value for name, value in attributes.items() if value is not None},
    )


def _require_one_zero_point(e: Emission, i: int) -> None:
    if len(e.shape(i)) != 2:
        return
    known = e.constant(i)
    if known is None or not (known == (0 if e.type(i).dtype.is_signed else known.flat[0])).all():
        raise NotExpressible("onnxruntime's DynamicQuantizeLSTM takes no zero points that differ between columns")
