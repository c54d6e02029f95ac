"""The quantization record: scales and zero points by layer, in the text form that AMCT reads and writes.

Text of the protobuf message ScaleOffsetRecord. Source: hicann/amct, proto files and "record.txt" of its documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def record_text(layers: Iterable[Mapping[str, Any]]) -> str:
    """The record of the layers as LowerToAscend reports them.

    Args:
        layers: `name`, `scale_d` and `offset_d` of the activation, `scale_w` of the weight (one number or one for each
            output channel).
    """
    return "".join(_entry(layer) for layer in layers)


def _entry(layer: Mapping[str, Any]) -> str:
    lines = [
        "record {",
        f'  key: "{layer["name"]}"',
        "  value {",
        f"    scale_d: {_number(layer['scale_d'])}",
        f"    offset_d: {layer['offset_d']}",
    ]
    for scale in layer["scale_w"]:
        lines += [f"    scale_w: {_number(scale)}", "    offset_w: 0"]
    lines += ['    dst_type: "INT8"', "  }", "}"]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    """The shortest decimal that reads back as the same f32."""
    return str(np.float32(value))
