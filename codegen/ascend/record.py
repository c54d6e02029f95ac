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


def simple_config(floats: Iterable[str], *, activation_offset: bool) -> str:
    """The simple configuration of AMCT that quantizes the same layers by Huawei's own tool.

    Text of the message that `config_file` of a calibration names. Source: hicann/amct, documentation of the simple
    configuration file.

    Args:
        floats: names of layers that stay float.
        activation_offset: whether activations have a zero point.
    """
    lines = [f"activation_offset: {'true' if activation_offset else 'false'}"]
    lines += [f'skip_layers: "{name}"' for name in floats]
    lines += [
        "do_fusion: true",
        "common_config: {",
        "  arq_quantize: {",
        "    channel_wise: true",
        "    quant_bits: 8",
        "  }",
        "  ifmr_quantize: {",
        "    search_range_start: 0.7",
        "    search_range_end: 1.3",
        "    search_step: 0.01",
        "    max_percentile: 0.999999",
        "    min_percentile: 0.999999",
        f"    asymmetric: {'true' if activation_offset else 'false'}",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"
