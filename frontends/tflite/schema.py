"""The numbers of the TFLite schema: operators, options, element types.

A FlatBuffer says nothing of itself: fields are slots, operators and options are numbers. They are those of
tensorflow/compiler/mlir/lite/schema/schema.fbs, version 3, as of LiteRT 2.3; what a newer schema adds is refused by
number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from uair.frontends.tflite.errors import TfliteSchemaError
from uair.ir.dtype import DType

IDENTIFIER = b"TFL3"

OPERATORS = tuple(
    """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
    FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
    LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH
    SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
    BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
    BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
    ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE
    TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK
    LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL
    FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL
    REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND
    HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
    BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
    HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE
    ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU
    DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
    UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE
    STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE
    STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE
    STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG
    STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT
    STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT
    STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL
    STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE
    STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
    """.split()
)
"""Builtin operators; the place is the number."""

TYPES = (
    DType.F32,
    DType.F16,
    DType.I32,
    DType.U8,
    DType.I64,
    DType.STRING,
    DType.BOOL,
    DType.I16,
    DType.C64,
    DType.I8,
    DType.F64,
    DType.C128,
    DType.U64,
    None,  # RESOURCE: a handle of a variable or table
    None,  # VARIANT: a list of tensors
    DType.U32,
    DType.U16,
    DType.I4,
    DType.BF16,
    DType.I2,
    DType.U4,
    DType.F8E4M3,
    DType.F8E5M2,
)
"""Element types; the place is the number. None for what is no tensor of numbers."""

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
PADDINGS = ("SAME", "VALID")
MIRROR_MODES = ("REFLECT", "SYMMETRIC")
WINDOW_FUNCTIONS = ("UNSUPPORTED", "ADD", "MUL", "MINIMUM", "MAXIMUM", "ALL", "ANY")
COMPARISONS = ("EQ", "NE", "GE", "GT", "LE", "LT")
INDEX_WIDTHS = {1: "<i4", 2: "<u2", 3: "u1"}
"""Types of the lists of a sparse tensor, by the number of the union's member."""

Field: TypeAlias = tuple[int, str, float]
"""Slot, kind and default. The kind is the `struct` module's; "s" is a text, "[" in front makes it a list."""


def _fields(**fields: tuple[int, str] | tuple[int, str, float]) -> Mapping[str, Field]:
    return {name: (f[0], f[1], f[2] if len(f) == 3 else 0) for name, f in fields.items()}


OPTIONS: Mapping[str, Mapping[str, Field]] = {
    "Conv2D": _fields(
        padding=(0, "b"),
        stride_w=(1, "i"),
        stride_h=(2, "i"),
        fused_activation_function=(3, "b"),
        dilation_w_factor=(4, "i", 1),
        dilation_h_factor=(5, "i", 1),
    ),
    "DepthwiseConv2D": _fields(
        padding=(0, "b"),
        stride_w=(1, "i"),
        stride_h=(2, "i"),
        depth_multiplier=(3, "i"),
        fused_activation_function=(4, "b"),
        dilation_w_factor=(5, "i", 1),
        dilation_h_factor=(6, "i", 1),
    ),
    "Pool2D": _fields(
        padding=(0, "b"),
        stride_w=(1, "i"),
        stride_h=(2, "i"),
        filter_width=(3, "i"),
        filter_height=(4, "i"),
        fused_activation_function=(5, "b"),
    ),
    "SVDF": _fields(rank=(0, "i"), fused_activation_function=(1, "b"), asymmetric_quantize_inputs=(2, "?")),
    "RNN": _fields(fused_activation_function=(0, "b"), asymmetric_quantize_inputs=(1, "?")),
    "FullyConnected": _fields(
        fused_activation_function=(0, "b"),
        weights_format=(1, "b"),
        keep_num_dims=(2, "?"),
        asymmetric_quantize_inputs=(3, "?"),
    ),
    "Softmax": _fields(beta=(0, "f")),
    "Concatenation": _fields(axis=(0, "i"), fused_activation_function=(1, "b")),
    "Add": _fields(fused_activation_function=(0, "b")),
    "L2Norm": _fields(fused_activation_function=(0, "b")),
    "LocalResponseNormalization": _fields(radius=(0, "i"), bias=(1, "f"), alpha=(2, "f"), beta=(3, "f")),
    "LSTM": _fields(
        fused_activation_function=(0, "b"),
        cell_clip=(1, "f"),
        proj_clip=(2, "f"),
        kernel_type=(3, "b"),
        asymmetric_quantize_inputs=(4, "?"),
    ),
    "ResizeBilinear": _fields(align_corners=(2, "?"), half_pixel_centers=(3, "?")),
    "Call": _fields(subgraph=(0, "I")),
    "Reshape": _fields(new_shape=(0, "[i")),
    "SpaceToDepth": _fields(block_size=(0, "i")),
    "EmbeddingLookupSparse": _fields(combiner=(0, "b")),
    "Mul": _fields(fused_activation_function=(0, "b")),
    "Gather": _fields(axis=(0, "i"), batch_dims=(1, "i")),
    "Reducer": _fields(keep_dims=(0, "?")),
    "Sub": _fields(fused_activation_function=(0, "b")),
    "Div": _fields(fused_activation_function=(0, "b")),
    "Squeeze": _fields(squeeze_dims=(0, "[i")),
    "SequenceRNN": _fields(
        time_major=(0, "?"),
        fused_activation_function=(1, "b"),
        asymmetric_quantize_inputs=(2, "?"),
    ),
    "StridedSlice": _fields(
        begin_mask=(0, "i"),
        end_mask=(1, "i"),
        ellipsis_mask=(2, "i"),
        new_axis_mask=(3, "i"),
        shrink_axis_mask=(4, "i"),
        offset=(5, "?"),
    ),
    "Split": _fields(num_splits=(0, "i")),
    "Cast": _fields(in_data_type=(0, "b"), out_data_type=(1, "b")),
    "ArgMax": _fields(output_type=(0, "b")),
    "TransposeConv": _fields(
        padding=(0, "b"),
        stride_w=(1, "i"),
        stride_h=(2, "i"),
        fused_activation_function=(3, "b"),
    ),
    "Shape": _fields(out_type=(0, "b")),
    "ArgMin": _fields(output_type=(0, "b")),
    "FakeQuant": _fields(min=(0, "f"), max=(1, "f"), num_bits=(2, "i"), narrow_range=(3, "?")),
    "Pack": _fields(values_count=(0, "i"), axis=(1, "i")),
    "OneHot": _fields(axis=(0, "i")),
    "Unpack": _fields(num=(0, "i"), axis=(1, "i")),
    "BidirectionalSequenceLSTM": _fields(
        fused_activation_function=(0, "b"),
        cell_clip=(1, "f"),
        proj_clip=(2, "f"),
        merge_outputs=(3, "?"),
        time_major=(4, "?", 1),
        asymmetric_quantize_inputs=(5, "?"),
    ),
    "BidirectionalSequenceRNN": _fields(
        time_major=(0, "?"),
        fused_activation_function=(1, "b"),
        merge_outputs=(2, "?"),
        asymmetric_quantize_inputs=(3, "?"),
    ),
    "UnidirectionalSequenceLSTM": _fields(
        fused_activation_function=(0, "b"),
        cell_clip=(1, "f"),
        proj_clip=(2, "f"),
        time_major=(3, "?"),
        asymmetric_quantize_inputs=(4, "?"),
        diagonal_recurrent_tensors=(5, "?"),
    ),
    "ResizeNearestNeighbor": _fields(align_corners=(0, "?"), half_pixel_centers=(1, "?")),
    "LeakyRelu": _fields(alpha=(0, "f")),
    "MirrorPad": _fields(mode=(0, "b")),
    "SplitV": _fields(num_splits=(0, "i")),
    "Unique": _fields(idx_out_type=(0, "b", 2)),
    "ReverseSequence": _fields(seq_dim=(0, "i"), batch_dim=(1, "i")),
    "If": _fields(then_subgraph_index=(0, "i"), else_subgraph_index=(1, "i")),
    "While": _fields(cond_subgraph_index=(0, "i"), body_subgraph_index=(1, "i")),
    "DepthToSpace": _fields(block_size=(0, "i")),
    "BatchMatMul": _fields(adj_x=(0, "?"), adj_y=(1, "?"), asymmetric_quantize_inputs=(2, "?")),
    "Cumsum": _fields(exclusive=(0, "?"), reverse=(1, "?")),
    "CallOnce": _fields(init_subgraph_index=(0, "i")),
    "Conv3D": _fields(
        padding=(0, "b"),
        stride_d=(1, "i"),
        stride_w=(2, "i"),
        stride_h=(3, "i"),
        fused_activation_function=(4, "b"),
        dilation_d_factor=(5, "i", 1),
        dilation_w_factor=(6, "i", 1),
        dilation_h_factor=(7, "i", 1),
    ),
    "Hashtable": _fields(table_id=(0, "i"), key_dtype=(1, "b"), value_dtype=(2, "b")),
    "VarHandle": _fields(container=(0, "s"), shared_name=(1, "s")),
    "Random": _fields(seed=(0, "q"), seed2=(1, "q")),
    "Bucketize": _fields(boundaries=(0, "[f")),
    "Gelu": _fields(approximate=(0, "?")),
    "StablehloConcatenate": _fields(dimension=(0, "q")),
    "StablehloBroadcastInDim": _fields(broadcast_dimensions=(0, "[q")),
    "StablehloSlice": _fields(start_indices=(0, "[q"), limit_indices=(1, "[q"), strides=(2, "[q")),
    "StablehloConvolution": _fields(
        window_strides=(0, "[q"),
        padding=(1, "[q"),
        lhs_dilation=(2, "[q"),
        rhs_dilation=(3, "[q"),
        window_reversal=(4, "[?"),
        input_batch_dimension=(5, "q"),
        input_feature_dimension=(6, "q"),
        input_spatial_dimensions=(7, "[q"),
        kernel_input_feature_dimension=(8, "q"),
        kernel_output_feature_dimension=(9, "q"),
        kernel_spatial_dimensions=(10, "[q"),
        output_batch_dimension=(11, "q"),
        output_feature_dimension=(12, "q"),
        output_spatial_dimensions=(13, "[q"),
        feature_group_count=(14, "q"),
        batch_group_count=(15, "q"),
    ),
    "StablehloReduce": _fields(dimensions=(0, "[q"), body_subgraph_index=(1, "i")),
    "StablehloScatter": _fields(
        update_window_dims=(1, "[q"),
        inserted_window_dims=(2, "[q"),
        scatter_dims_to_operand_dims=(3, "[q"),
        index_vector_dim=(4, "q"),
        update_computation_subgraph_index=(6, "i"),
    ),
    "StablehloCompare": _fields(comparison_direction=(0, "I"), compare_type=(1, "I")),
    "StablehloDynamicSlice": _fields(slice_sizes=(0, "[q")),
    "StablehloPad": _fields(edge_padding_low=(0, "[q"), edge_padding_high=(1, "[q"), interior_padding=(2, "[q")),
    "StablehloIota": _fields(iota_dimension=(0, "q")),
    "StablehloDotGeneral": _fields(
        lhs_batching_dimensions=(0, "[q"),
        rhs_batching_dimensions=(1, "[q"),
        lhs_contracting_dimensions=(2, "[q"),
        rhs_contracting_dimensions=(3, "[q"),
    ),
    "StablehloReduceWindow": _fields(
        window_dimensions=(0, "[q"),
        window_strides=(1, "[q"),
        base_dilations=(2, "[q"),
        window_dilations=(3, "[q"),
        padding=(4, "[q"),
        body_subgraph_index=(5, "i"),
    ),
    "StablehloWhile": _fields(cond_subgraph_index=(0, "i"), body_subgraph_index=(1, "i")),
    "StablehloGather": _fields(
        offset_dims=(0, "[q"),
        collapsed_slice_dims=(1, "[q"),
        start_index_map=(2, "[q"),
        index_vector_dim=(3, "q"),
        slice_sizes=(4, "[q"),
    ),
    "StablehloTranspose": _fields(permutation=(0, "[q")),
    "ReduceWindow": _fields(reduce_function=(0, "i")),
    "StableHLOComposite": _fields(name=(0, "s"), decomposition_subgraph_index=(1, "i")),
    "StablehloCase": _fields(branch_subgraph_indices=(0, "[i")),
}
"""Fields of the options tables that say anything that matters here, by name without "Options"."""

OPTION_NUMBERS = tuple(
    """
    NONE Conv2D DepthwiseConv2D ConcatEmbeddings LSHProjection Pool2D SVDF RNN FullyConnected Softmax Concatenation
    Add L2Norm LocalResponseNormalization LSTM ResizeBilinear Call Reshape SkipGram SpaceToDepth
    EmbeddingLookupSparse Mul Pad Gather BatchToSpaceND SpaceToBatchND Transpose Reducer Sub Div Squeeze SequenceRNN
    StridedSlice Exp TopKV2 Split LogSoftmax Cast Dequantize MaximumMinimum ArgMax Less Neg PadV2 Greater
    GreaterEqual LessEqual Select Slice TransposeConv SparseToDense Tile ExpandDims Equal NotEqual Shape Pow ArgMin
    FakeQuant Pack LogicalOr OneHot LogicalAnd LogicalNot Unpack FloorDiv Square ZerosLike Fill
    BidirectionalSequenceLSTM BidirectionalSequenceRNN UnidirectionalSequenceLSTM FloorMod Range
    ResizeNearestNeighbor LeakyRelu SquaredDifference MirrorPad Abs SplitV Unique ReverseV2 AddN GatherNd Cos Where
    Rank ReverseSequence MatrixDiag Quantize MatrixSetDiag HardSwish If While DepthToSpace NonMaxSuppressionV4
    NonMaxSuppressionV5 ScatterNd SelectV2 Densify SegmentSum BatchMatMul Cumsum CallOnce BroadcastTo Rfft2d Conv3D
    Hashtable HashtableFind HashtableImport HashtableSize VarHandle ReadVariable AssignVariable Random Bucketize
    Gelu DynamicUpdateSlice UnsortedSegmentProd UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentSum ATan2 Sign
    Bitcast BitwiseXor RightShift
    """.split()
)
"""Members of the union BuiltinOptions; the place is the number."""

MORE_OPTION_NUMBERS = tuple(
    """
    NONE StablehloConcatenate StablehloBroadcastInDim StablehloSlice StablehloConvolution StablehloCustomCall
    StablehloReduce StablehloScatter StablehloCompare StablehloDynamicSlice StablehloPad StablehloIota
    StablehloDotGeneral StablehloReduceWindow StablehloSort StablehloWhile StablehloGather StablehloTranspose Dilate
    StablehloRngBitGenerator ReduceWindow StableHLOComposite StablehloShiftLeft StablehloCase
    """.split()
)
"""Members of the union BuiltinOptions2."""


def named(names: tuple[str, ...], number: int, what: str) -> str:
    """The name behind a number of the schema.

    Raises:
        TfliteSchemaError: there is none.
    """
    if not 0 <= number < len(names):
        raise TfliteSchemaError(f"{what} {number} is not known; the schema known here ends at {len(names) - 1}")
    return names[number]
