"""What cannot be run or compared, each with its reason; tests fail when an entry is missing and when one is stale."""

from __future__ import annotations

FIRST_OPSET = {
    "bf16": 13,
    "f8e4m3": 19,
    "f8e5m2": 19,
    "f8e4m3fnuz": 19,
    "f8e5m2fnuz": 19,
    "i4": 21,
    "u4": 21,
    "f4e2m1": 23,
    "f6e2m3": 28,
    "f6e3m2": 28,
    "f8e8m0": 24,
    "i2": 25,
    "u2": 25,
}
"""The opset from which ONNX has an element type; before, nothing of that type can be written."""

NOT_EXPRESSIBLE: dict[tuple[str, str], tuple[int, str]] = {
    ("Tokenizer", ""): (99, "only onnxruntime's own domain has it, which is not written"),
    ("StringSplit", ""): (19, "ONNX has it from opset 20 on"),
    ("StringConcat", ""): (19, "ONNX has it from opset 20 on"),
    ("RegexFullMatch", ""): (19, "ONNX has it from opset 20 on"),
    ("TreeEnsemble", "(float64"): (20, "trees that give f64 exist from version 5 of ai.onnx.ml on"),
    ("TreeClassifier", "(float64"): (15, "thresholds in f64 exist from version 3 of ai.onnx.ml on"),
    ("LabelEncoder", "float64"): (19, "f64 keys and values exist from version 4 of ai.onnx.ml on"),
    ("DecodeImage", ""): (19, "ImageDecoder exists from opset 20 on"),
    ("Fold", "int64[2]"): (17, "Col2Im, whose shapes may be known only at run time, exists from opset 18 on"),
    ("RoiAlign", "=0, spatial_scale=0.5, half_pixel=True"): (15, "opset 16 brought the shift by half an element"),
    ("RoiAlign", "=0, spatial_scale=1.0, half_pixel=True"): (15, "opset 16 brought the shift by half an element"),
    ("OptionalConstruct", "("): (14, "optionals exist from opset 15 on"),
    ("OptionalGetElement", "(opt<"): (14, "optionals exist from opset 15 on"),
    ("OptionalHasElement", "(opt<"): (14, "optionals exist from opset 15 on"),
    ("BitCast", "(float32[4])"): (25, "before opset 26 integers become integers only"),
    ("BitCast", "(i32[2,3])"): (25, "before opset 26 integers become integers only"),
    ("BitCast", "(u64[3])"): (25, "before opset 26 integers become integers only"),
    ("BitCast", "(i16[4])"): (25, "before opset 26 integers become integers only"),
    ("BitCast", "(bf16[])"): (25, "before opset 26 integers become integers only"),
    ("BitCast", "(f64[2])"): (25, "before opset 26 integers become integers only"),
    ("Cast", "DType.C64"): (99, "ONNX has no conversion to complex numbers"),
    ("Equal", "object"): (18, "ONNX compares strings from opset 19 on"),
    ("NotEqual", "object"): (18, "ONNX compares strings from opset 19 on"),
    ("DFT", "],int64[]"): (16, "DFT exists from opset 17 on, and the decomposition needs to know the length"),
}
"""(operator, part of the sample's text): last opset at which it is refused, and why."""

LEFT_OPEN: dict[tuple[str, str], str] = {
    ("Cast", "DType.U32, saturate=True, round_mode='up')(float32[7])"): "conversion of NaN and infinities to integers",
    ("Cast", "DType.U64, saturate=True, round_mode='up')(float32[7])"): "conversion of NaN and infinities to integers",
    (
        "Cast",
        "DType.I4, saturate=True, round_mode='up')(float32[7])",
    ): "conversion of numbers outside of the range to integers",
    ("Cast", "DType.STRING, saturate=True, round_mode='up')(float32[7])"): "how a number is spelled",
    ("NonZero", "(int64[])"): "NonZero of a scalar: onnxruntime takes it as a vector of one",
    ("RandomNormal", "seed="): "which numbers are drawn",
    ("RandomUniform", "seed="): "which numbers are drawn",
    ("ReduceMean", "(f32[2,0,3])"): "the mean of nothing: onnxruntime gives 0",
    ("TopK", "sorted=False)(u8[2,4])"): "the order of unsorted results",
}
"""(operator, part of the sample's text): what ONNX leaves open there; only type and shape are compared."""

NOT_IN_ONNXRUNTIME = {
    "c64": "onnxruntime has no complex numbers",
    "f4e2m1": "onnxruntime knows the type, but has no kernel of opset 28 that takes it, and crashes in messages",
    "f6e2m3": "the type is of ONNX 1.23, which onnxruntime does not know",
    "f6e3m2": "the type is of ONNX 1.23, which onnxruntime does not know",
}
"""Element types whose models run in onnx's reference evaluator, each with the reason."""

NO_EXECUTOR: dict[tuple[str, str], str] = {
    ("DictVectorizer", "<string"): "onnxruntime's Python interface takes maps of f32 only",
    ("DictVectorizer", "<i64"): "onnxruntime's Python interface takes maps of f32 only",
    ("DictVectorizer", "<f64"): "onnxruntime's Python interface takes maps of f32 only",
    ("CastMap", "map_i64<string"): "onnxruntime's Python interface takes maps of f32 only",
    ("StringNormalizer", "locale=''"): "onnxruntime's default locale, en_US.UTF-8, need not be installed",
    ("MaxRoiPool", ""): "version 22 has no kernel anywhere; test_vision.py runs the export at opset 13",
    ("IntegerConv2D", "uint8[],uint8[2]"): "onnxruntime's ConvInteger takes no zero point per output channel",
    ("GroupNorm", "f32[0,4,5]"): "onnxruntime expands GroupNormalization to a Reshape that refuses no elements",
    ("OneHot", "int8[2]"): "neither onnxruntime nor onnx's evaluator has a kernel for i8 values",
    ("OneHot", "bool[2]"): "neither onnxruntime nor onnx's evaluator has a kernel for bool values",
    ("ScatterElements", "f16"): "onnxruntime's kernel refuses to reduce f16 when it runs",
}
"""(operator, part of the sample's text): why nothing here can run it; the model is checked only."""

NO_KERNEL: dict[str, str] = {
    "bf16": (
        "Abs(13) Acos(22) Acosh(22) Add(13) Add(14) ArgMax(13) ArgMin(13) Asin(22) Asinh(22) Atan(22) Atanh(22) "
        "AveragePool(22) Ceil(13) Conv(22) Cos(22) Cosh(22) CumProd(26) CumSum(14) DFT(17) DFT(20) Det(22) "
        "Div(13) Div(14) Elu(22) Equal(13) Equal(19) Erf(13) Exp(13) Floor(13) Greater(13) GreaterOrEqual(16) "
        "HardSigmoid(22) Hardmax(13) IsNaN(13) LeakyRelu(16) Less(13) LessOrEqual(16) Log(13) MatMul(13) Max(13) "
        "Min(13) Mod(13) Mod(28) Mul(13) Mul(14) Neg(13) RandomNormal(22) RandomUniform(22) Reciprocal(13) "
        "ReduceL1(13) ReduceL2(13) ReduceL2(18) ReduceLogSumExp(13) ReduceMax(13) ReduceMax(20) ReduceMean(13) "
        "ReduceMean(18) ReduceMin(13) ReduceMin(20) ReduceProd(13) ReduceProd(18) ReduceSum(13) "
        "ReduceSumSquare(13) Relu(13) Relu(14) Round(22) Selu(22) Sigmoid(13) Sin(22) Sinh(22) Softplus(22) "
        "Softsign(22) Sqrt(13) Sub(13) Sub(14) Swish(24) Tan(22) Tanh(13) ThresholdedRelu(22) TopK(24) Where(16)"
    ),
    "bool": ("Where(16)"),
    "f16": ("QuantizeLinear(28) RandomNormal(22) RandomUniform(22) RoiAlign(22) Swish(24)"),
    "f32": (
        "Clip(11) DequantizeLinear(28) Optional(28) OptionalGetElement(28) OptionalHasElement(28) "
        "QuantizeLinear(28) RandomNormal(22) RandomUniform(22) RoiAlign(22) Swish(24)"
    ),
    "f64": (
        "Acos(22) Acos(7) Acosh(22) Acosh(9) Asin(22) Asin(7) Asinh(22) Asinh(9) Atan(22) Atan(7) Atanh(22) "
        "Atanh(9) Cosh(22) Cosh(9) Det(11) Det(22) Elu(22) Elu(6) Erf(13) Erf(9) HardSigmoid(22) HardSigmoid(6) "
        "Hardmax(11) Hardmax(13) LeakyRelu(16) LeakyRelu(6) RandomNormal(22) RandomUniform(22) Selu(22) Selu(6) "
        "Sinh(22) Sinh(9) Softplus(1) Softplus(22) Softsign(1) Softsign(22) Swish(24) Tan(22) Tan(7) "
        "ThresholdedRelu(10) ThresholdedRelu(22)"
    ),
    "f8e5m2": ("DequantizeLinear(28)"),
    "i16": ("DequantizeLinear(28)"),
    "i2": ("DequantizeLinear(28)"),
    "i32": (
        "Conv(11) Conv(22) DequantizeLinear(28) PRelu(16) PRelu(9) QuantizeLinear(10) QuantizeLinear(13) "
        "QuantizeLinear(28)"
    ),
    "i4": ("DequantizeLinear(28) Identity(25) Pad(25)"),
    "i64": ("Optional(28) RandomNormalLike(22) RandomUniformLike(22)"),
    "i8": (
        "BitCast(26) ConvTranspose(11) ConvTranspose(22) DequantizeLinear(28) NonZero(13) NonZero(9) "
        "OptionalGetElement(28)"
    ),
    "u2": ("DequantizeLinear(28)"),
    "u4": ("DequantizeLinear(28)"),
    "u8": ("ConvTranspose(11) ConvTranspose(22) DequantizeLinear(28) ImageDecoder(20)"),
}
"""By element type of the sample: ONNX operators (with the version) for which onnxruntime has no CPU kernel.

onnx's reference evaluator runs these instead.
"""
