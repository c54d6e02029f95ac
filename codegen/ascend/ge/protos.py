"""Prototypes of the GE operators that are written: ports and attributes.

`?x` is an optional port, `*x` any number of ports x0, x1, ...; an attribute that must be given ends in `!`. Source:
mindspore-ai/graphengine branch r1.9, third_party/fwkacllib/inc/ops (CANN 6.0). The operators in INFERRED are named by
hicann/ops-math (similar_opp_onnx_plugin.cpp) or follow from a listed one of their kind; their ports are not in a source
that was read, but those of every other operator of that kind.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Proto:
    """An operator's prototype.

    Attributes:
        inputs: input ports.
        outputs: output ports.
        attributes: kind by name: Int, Float, Bool, String, ListInt, ListListInt, ListFloat, Type, Tensor.
        required: attributes that must be given.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, str]
    required: frozenset[str]

    @staticmethod
    def of(text: str) -> Proto:
        """From `x filter ?bias -> y | strides!:ListInt groups:Int`."""
        ports, _, attributes = text.partition("|")
        inputs, _, outputs = ports.partition("->")
        kinds = dict(each.split(":") for each in attributes.split())
        return Proto(
            tuple(inputs.split()),
            tuple(outputs.split()),
            {name.rstrip("!"): kind for name, kind in kinds.items()},
            frozenset(name.rstrip("!") for name in kinds if name.endswith("!")),
        )

    @property
    def optional(self) -> list[str]:
        """Names of the optional input ports."""
        return [port[1:] for port in self.inputs if port.startswith("?")]


_CONV = "x filter ?bias ?offset_w -> y | strides!:ListInt pads!:ListInt dilations:ListInt groups:Int data_format:String"
_POOL = "x -> y | ksize!:ListInt strides!:ListInt padding_mode:String pads:ListInt data_format:String"
_REDUCE = "x -> y | axes!:ListInt keep_dims:Bool"
_RESIZE = "x size -> y | align_corners:Bool half_pixel_centers:Bool"

_LISTED = {
    "Data": "-> y | index:Int",  # its port x is what the graph is fed; nothing is connected to it
    "Const": "-> y | value:Tensor",
    "Conv2D": f"{_CONV} offset_x:Int",
    "Conv2DTransposeD": f"{_CONV} input_size!:ListInt output_padding:ListInt offset_x:Int",
    "MatMulV2": "x1 x2 ?bias ?offset_w -> y | transpose_x1:Bool transpose_x2:Bool offset_x:Int",
    "BatchMatMulV2": "x1 x2 ?bias ?offset_w -> y | adj_x1:Bool adj_x2:Bool offset_x:Int",
    "LeakyRelu": "x -> y | negative_slope:Float",
    "PRelu": "x weight -> y",
    "Elu": "x -> y | alpha:Float",
    "Swish": "x -> y | scale:Float",
    "HardSigmoid": "input_x -> output_y | alpha:Float beta:Float",
    "ClipByValue": "x clip_value_min clip_value_max -> y",
    "MaxPoolV3": f"{_POOL} global_pooling:Bool ceil_mode:Bool",
    "AvgPoolV2": f"{_POOL} global_pooling:Bool ceil_mode:Bool exclusive:Bool",
    "GlobalAveragePool": "x -> y",
    "SoftmaxV2": "x -> y | axes:ListInt",
    "LogSoftmaxV2": "logits -> logsoftmax | axes:ListInt",
    "ConcatD": "*x -> y | concat_dim!:Int N:Int",
    "SplitD": "x -> *y | split_dim!:Int num_split!:Int",
    "SplitVD": "x -> *y | size_splits!:ListInt split_dim!:Int num_split!:Int",
    "SliceD": "x -> y | offsets!:ListInt size!:ListInt",
    "StridedSliceD": "x -> y | begin!:ListInt end!:ListInt strides!:ListInt begin_mask:Int end_mask:Int "
    "ellipsis_mask:Int new_axis_mask:Int shrink_axis_mask:Int",
    "TransposeD": "x -> y | perm!:ListInt",
    "Reshape": "x shape -> y | axis:Int num_axes:Int",
    "SqueezeV2": "x -> y | axis:ListInt",
    "UnsqueezeV2": "x -> y | axis:ListInt",
    "BatchNorm": "x scale offset ?mean ?variance -> y batch_mean batch_variance reserve_space_1 reserve_space_2 "
    "reserve_space_3 | epsilon:Float data_format:String is_training:Bool",
    "LayerNorm": "x gamma beta -> y mean variance | begin_norm_axis:Int begin_params_axis:Int epsilon:Float",
    "InstanceNorm": "x gamma beta -> y mean variance | data_format:String epsilon:Float",
    "LRN": "x -> y | depth_radius:Int bias:Float alpha:Float beta:Float norm_region:String",
    "ReduceMeanD": f"{_REDUCE} noop_with_empty_axes:Bool",
    "ReduceSumD": _REDUCE,
    "ReduceMaxD": _REDUCE,
    "ArgMaxV2": "x dimension -> y | dtype:Type",
    "TopK": "x k -> values indices | sorted:Bool largest:Bool dim:Int",
    "GatherV2D": "x indices -> y | axis!:Int",
    "GatherNd": "x indices -> y",
    "ResizeBilinearV2": f"{_RESIZE} dtype:Type",
    "ResizeNearestNeighborV2": _RESIZE,
    "PadD": "x -> y | paddings!:ListListInt",
    "PadV3": "x paddings ?constant_values -> y | mode:String paddings_contiguous:Bool",
    "TileD": "x -> y | multiples!:ListInt",
    "BroadcastTo": "x shape -> y",
    "Cast": "x -> y | dst_type!:Int",
    "SelectV2": "condition then else -> result",
    "DepthToSpace": "x -> y | block_size!:Int mode:String data_format:String",
    "SpaceToDepth": "x -> y | block_size!:Int data_format:String",
    "CumsumD": "x -> y | axis!:Int exclusive:Bool reverse:Bool",
    "OneHotD": "x on_value off_value -> y | depth!:Int axis:Int",
    "Exp": "x -> y | base:Float scale:Float shift:Float",
    "Log": "x -> y | base:Float scale:Float shift:Float",
    "AscendQuant": "x -> y | scale!:Float offset!:Float sqrt_mode:Bool round_mode:String dst_type:Int",
    "AscendDequant": "x deq_scale -> y | sqrt_mode:Bool relu_flag:Bool dtype:Int",
    "AscendAntiQuant": "x -> y | scale!:Float offset!:Float dtype:Int sqrt_mode:Bool",
    **dict.fromkeys(
        ("Relu", "Relu6", "Selu", "Sigmoid", "HardSwish", "Tanh", "Mish", "Softplus", "Sqrt", "Rsqrt", "Neg", "Abs",
         "Erf", "Floor", "Ceil", "Square", "LogicalNot", "Identity"),
        "x -> y",
    ),
    **dict.fromkeys(
        ("Add", "Sub", "Mul", "RealDiv", "Maximum", "Minimum", "Pow", "Equal", "Greater", "Less", "LogicalAnd"),
        "x1 x2 -> y",
    ),
}  # fmt: skip

_INFERRED = {
    **dict.fromkeys(
        ("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cos", "Cosh", "Sin", "Sinh", "Tan", "Reciprocal", "Round",
         "Sign", "Softsign", "IsNan", "Invert"),
        "x -> y",
    ),
    **dict.fromkeys(("LogicalOr", "GreaterEqual", "LessEqual"), "x1 x2 -> y"),
    "ReduceMinD": _REDUCE,
    "ReduceProdD": _REDUCE,
}  # fmt: skip

PROTOS: Mapping[str, Proto] = {name: Proto.of(text) for name, text in (_LISTED | _INFERRED).items()}
INFERRED = frozenset(_INFERRED)
"""Operators whose ports are inferred."""

IMAGE_FORMATS = frozenset({"GlobalAveragePool", "ResizeBilinearV2", "ResizeNearestNeighborV2", "LRN", "PRelu"}) | {
    name for name, proto in PROTOS.items() if "data_format" in proto.attributes
}
"""Operators that read their tensors of rank 4 as images in the order NCHW."""
