"""UAIR's ranges for MagicMind: ranges.json, and a C++ header with the one call per tensor that is certain."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from uair.quant.tensor_range import TensorRange

SCHEMA = 1


def ranges_json(ranges: Mapping[str, TensorRange]) -> dict[str, Any]:
    """Content of ranges.json: by the tensor's name in model.onnx how UAIR quantizes it."""
    tensors = {
        name: {
            "scale": each.scale,
            "zero_point": each.zero_point,
            "dtype": str(each.dtype),
            "min": each.min,
            "max": each.max,
        }
        for name, each in ranges.items()
    }
    return {"schema": SCHEMA, "tensors": tensors}


def ranges_header(ranges: Mapping[str, TensorRange]) -> str:
    """set_ranges.h. Source of the call: Paddle-Lite, nnadapter driver cambricon_mlu, converter/conv2d.cc."""
    rows = "\n".join(
        f"      {{{json.dumps(name)}, {{{_float(each.scale)}, {each.zero_point}, {each.dtype.bits}, "
        f'"{"symmetric" if each.zero_point == 0 else "asymmetric"}"}}}},'
        for name, each in sorted(ranges.items())
    )
    return HEADER.replace("@ROWS@", rows)


def _float(value: float) -> str:
    return f"{value!r}F" if "." in repr(value) or "e" in repr(value) else f"{value!r}.0F"


HEADER = """\
// UAIR's ranges of the activations of model.onnx, for programs that build a network with MagicMind's C++ interface:
// call uair::SetRange for the input tensors of convolutions and matrix products, with the tensor's name in model.onnx.
#ifndef UAIR_SET_RANGES_H_
#define UAIR_SET_RANGES_H_

#include <map>
#include <string>

namespace uair {

struct Range {
  float scale;
  int zero_point;
  int bits;
  const char *algorithm;
};

// By the name of the tensor in model.onnx.
inline const std::map<std::string, Range> &Ranges() {
  static const std::map<std::string, Range> ranges = {
@ROWS@
  };
  return ranges;
}

// Sets the range of `tensor`, a magicmind::ITensor *; false when UAIR has none for the name. MagicMind's headers are
// included before this file.
template <typename Tensor>
bool SetRange(Tensor *tensor, const std::string &name) {
  const auto found = Ranges().find(name);
  if (found == Ranges().end()) return false;
  const Range &range = found->second;
  return tensor
      ->SetDynamicRange(
          magicmind::UniformQuantParamToRangeWithQuantAlg({range.scale, range.zero_point}, range.bits,
                                                           range.algorithm), true)
      .ok();
}

}  // namespace uair

#endif  // UAIR_SET_RANGES_H_
"""
