"""Operators of ai.onnx.ml against onnxruntime, or the specification where onnxruntime departs from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.frontends.onnx.classical import OPSETS, compare, judge, node_model, written
from tests.frontends.onnx.models import floats, imported, interpreted, onnxruntime_outputs, op_types
from uair.errors import EvaluationError, UairError
from uair.frontends.onnx.errors import OnnxAttributeError
from uair.ir.dtype import Array

X = np.array([[1.5, -2, 0, 4], [0, 0, 0, 0], [-3, 1, 2, 2]], np.float32)
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
WORDS = np.array(["a", "b", "zz", ""], object)


def listed(dtype: int, values: list[Any]) -> Any:
    encoded = [v.encode() for v in values] if dtype == TensorProto.STRING else values
    return helper.make_tensor("t", dtype, [len(values)], encoded)


# ------------------------------------------------------------------------------ elements
def test_features_are_extracted() -> None:
    module = judge("ArrayFeatureExtractor", X, np.array([0, 3, 0]))
    assert op_types(module) == ["Gather"]
    judge("ArrayFeatureExtractor", X[0], np.array([0, 3]))
    judge("ArrayFeatureExtractor", X, np.array([[1, 2], [3, 0]]))
    judge("ArrayFeatureExtractor", np.arange(12.0).reshape(2, 2, 3), np.array([[1]]))
    judge("ArrayFeatureExtractor", WORDS.reshape(2, 2), np.array([1]))


def test_binarizer() -> None:
    judge("Binarizer", X, threshold=0.5)
    judge("Binarizer", X)
    for dtype in (np.int32, np.int64):
        x = np.array([[-3, 0, 1, 2]], dtype)
        for threshold in (-0.5, 0.0, 0.5, 1.0, 1e30, -1e30):
            judge("Binarizer", x, threshold=threshold, want=[(x > threshold).astype(dtype)])
    judge("Binarizer", np.array([np.nan, 1]), want=[np.array([0.0, 1.0])])


def test_imputer() -> None:
    judge("Imputer", X, imputed_value_floats=[9.0], replaced_value_float=0.0)
    judge("Imputer", X, imputed_value_floats=[9.0, 8, 7, 6], replaced_value_float=0.0)
    missing = np.where(X == 0, np.float32(np.nan), X)
    judge("Imputer", missing, imputed_value_floats=[9.0, 8, 7, 6], replaced_value_float=float("nan"))
    whole = X.astype(np.int64)
    judge("Imputer", whole, imputed_value_int64s=[9], replaced_value_int64=0)
    want = np.where(whole == 0, 9, whole)
    judge("Imputer", whole.astype(np.int32), imputed_value_int64s=[9], want=[want.astype(np.int32)])
    judge(
        "Imputer", X.astype(np.float64), imputed_value_floats=[0.5], want=[np.where(X == 0, 0.5, X.astype(np.float64))]
    )


def test_scaler() -> None:
    judge("Scaler", X, offset=[1.0, 2, 3, 4], scale=[2.0, 0.5, 1, 3])
    judge("Scaler", X, offset=[1.5], scale=[2.0])
    judge("Scaler", X.astype(np.int64), offset=[1.5], scale=[2.0])
    judge("Scaler", X.astype(np.float64), offset=[1.5], scale=[2.0])
    judge("Scaler", X, scale=[2.0], want=[X * 2])


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizer(norm: str) -> None:
    x = np.array([[1.0, -4, 2], [0, 0, 0], [-1, -2, -3]], np.float32)
    for kind in (np.float32, np.float64, np.int32, np.int64):
        judge("Normalizer", x.astype(kind), norm=norm)
    judge("Normalizer", x[0], norm=norm)


def test_feature_vectorizer() -> None:
    judge("FeatureVectorizer", X[:, :2], X[:, :1], inputdimensions=[2, 1])
    judge("FeatureVectorizer", X[:, :3], X[:, :1], inputdimensions=[2, 2])
    judge("FeatureVectorizer", X[0], X[1], inputdimensions=[4, 4])
    judge("FeatureVectorizer", X.astype(np.int64), inputdimensions=[4])


# -------------------------------------------------------------------------------- tables
def test_label_encoder_of_version_1_and_2() -> None:
    judge("LabelEncoder", WORDS, classes_strings=["b", "a"])
    judge("LabelEncoder", np.array([0, 1, 7, -1]), classes_strings=["b", "a"], default_string="?")
    numbers, reals = np.array([3, 7, 1]), np.array([0.5, -0.0, 9], np.float32)
    keys = {"strings": (WORDS, ["a", "b"]), "int64s": (numbers, [3, 7]), "floats": (reals, [0.5, 0.0])}
    values = {"strings": ["x", "y"], "int64s": [10, 20], "floats": [1.5, 2.5]}
    for key, (x, found) in keys.items():
        for value, given in values.items():
            module = judge("LabelEncoder", x, version=2, **{f"keys_{key}": found, f"values_{value}": given})
            assert op_types(module) == ["LabelEncoder"]
    nan = {"keys_floats": [float("nan"), 1.0], "values_int64s": [5, 6]}
    judge("LabelEncoder", np.array([np.nan, 1], np.float32), version=2, **nan)


TENSORS: dict[int, Any] = {
    TensorProto.INT64: np.int64,
    TensorProto.INT32: np.int32,
    TensorProto.INT16: np.int16,
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.STRING: object,
}


@pytest.mark.parametrize("key", TENSORS)
@pytest.mark.parametrize("value", TENSORS)
def test_label_encoder_of_every_pair_of_types(key: int, value: int) -> None:
    def some(kind: int, *numbers: int) -> Any:
        return [str(v) for v in numbers] if kind == TensorProto.STRING else list(numbers)

    x = np.array(some(key, 1, 3, 2), TENSORS[key])
    want = np.array(some(value, 5, 7, 6), TENSORS[value])
    attributes = {
        "keys_tensor": listed(key, some(key, 1, 2)),
        "values_tensor": listed(value, some(value, 5, 6)),
        "default_tensor": listed(value, some(value, 7)),
    }
    double = TensorProto.DOUBLE in (key, value)
    judge("LabelEncoder", x, version=4, want=[want], opsets=() if double else (11, 22), **attributes)


def test_label_encoder_of_version_4() -> None:
    nan = np.array([np.nan, 1, -0.0], np.float32)
    judge("LabelEncoder", nan, version=4, keys_floats=[float("nan"), 0.0], values_floats=[5.0, 6], opsets=(20, 28))
    repeated = {"keys_strings": ["a", "a", "b"], "values_int64s": [1, 2, 3]}
    judge("LabelEncoder", WORDS, version=4, want=[[2, 3, -1, -1]], **repeated)  # the last, says the specification
    judge("LabelEncoder", WORDS, version=4, keys_strings=["a", "b"], values_strings=["b", "a"])
    judge("LabelEncoder", np.array([1.0, 2]), version=4, keys_tensor=listed(TensorProto.DOUBLE, [1.0]), opsets=(20, 28),
          values_tensor=listed(TensorProto.DOUBLE, [0.1]))  # fmt: skip


def test_category_mapper() -> None:
    judge("CategoryMapper", WORDS, cats_strings=["a", "b", "a"], cats_int64s=[1, 2, 3])
    judge(
        "CategoryMapper", np.array([1, 2, 9]), cats_strings=["a", "b", "c"], cats_int64s=[1, 2, 1], default_string="-"
    )


def test_one_hot_encoder() -> None:
    judge("OneHotEncoder", np.array([[1.7, -0.5], [2, 9]], np.float32), cats_int64s=[0, 1, 2])
    judge("OneHotEncoder", np.array([1, 0, 7]), cats_int64s=[0, 1, 1])
    judge("OneHotEncoder", WORDS.reshape(2, 2), cats_strings=["a", "zz"])
    judge("OneHotEncoder", np.array([1, 2]), cats_int64s=[2, 1], zeros=0)
    proto, feeds = node_model("OneHotEncoder", np.array([1, 9]), cats_int64s=[2, 1], zeros=0)
    with pytest.raises(EvaluationError, match="out of range"):
        interpreted(imported(proto), feeds)


# -------------------------------------------------------------------------------- linear
Y = np.array([[0.1, 0.2], [0.3, -0.05], [0.5, 0.25], [-1, -1]], np.float32)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_linear_regressor(kind: str) -> None:
    x, two = np.abs(Y) / 4, [1.0, 0.5, 0.2, 0.3]
    judge("LinearRegressor", x, coefficients=two, intercepts=[0.1, 0.2], targets=2, post_transform=kind)
    if kind in ("NONE", "PROBIT"):
        judge("LinearRegressor", x, coefficients=[1.0, 0.5], intercepts=[0.1], post_transform=kind)
    if kind == "LOGISTIC":  # of one target onnxruntime leaves it out
        score = x @ np.array([[1], [0.5]], np.float32) + np.float32(0.1)
        want = (1 / (1 + np.exp(-score))).astype(np.float32)
        judge("LinearRegressor", x, coefficients=[1.0, 0.5], intercepts=[0.1], post_transform=kind, want=[want])


def test_linear_regressor_of_other_types() -> None:
    judge("LinearRegressor", Y, coefficients=[1.0, 0.5])
    judge("LinearRegressor", Y[0], coefficients=[1.0, 0.5], intercepts=[0.5])
    for kind in (np.int32, np.int64, np.float64):
        x = np.array([[1, 2], [-3, 4]], kind)
        judge("LinearRegressor", x, coefficients=[1.0, 0.5], want=[np.array([[2], [-1]], np.float32)])


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_linear_classifier(kind: str) -> None:
    three = {"coefficients": [1.0, 0.5, 0.2, 0.3, -1, 0.1], "intercepts": [0.1, 0.2, 0.3]}
    judge(
        "LinearClassifier", np.abs(Y) / 4, outputs=2, classlabels_strings=["a", "b", "c"], post_transform=kind, **three
    )
    if kind in ("NONE", "LOGISTIC"):
        one = {"coefficients": [1.0, 0.5], "intercepts": [0.1], "post_transform": kind}
        judge("LinearClassifier", Y, outputs=2, classlabels_ints=[5, 7], **one)
        judge("LinearClassifier", Y, outputs=2, classlabels_strings=["no", "yes"], **one)


def test_linear_classifier_of_other_types() -> None:
    two: dict[str, Any] = {"coefficients": [1.0, 0.5, 1, 1], "intercepts": [0.0, 0.1], "classlabels_ints": [4, 2]}
    for x in (Y[0], Y.astype(np.float64), np.array([[1, 2], [-3, 4]], np.int32), np.array([[1, 2]])):
        judge("LinearClassifier", x, outputs=2, **two)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def test_the_transform_of_one_score_of_two_classes_is_taken() -> None:
    """The other score is the opposite, as onnx's evaluator has it; onnxruntime leaves softmax out."""
    score = Y @ np.array([[1], [0.5]], np.float32)
    want = [np.where(score[:, 0] > 0, 7, 5), softmax(np.concatenate([-score, score], axis=1))]
    one = {"coefficients": [1.0, 0.5], "classlabels_ints": [5, 7]}
    judge("LinearClassifier", Y, outputs=2, post_transform="SOFTMAX", want=want, **one)


# ---------------------------------------------------------------- support vector machines
KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")
S = floats(5, 3, seed=1)


def machine(sizes: list[int], **more: Any) -> dict[str, Any]:
    k, vectors = len(sizes), sum(sizes)
    return {
        "kernel_params": [0.5, 0.1, 2.0],
        "support_vectors": floats(vectors * 3, seed=2).tolist(),
        "vectors_per_class": sizes,
        "coefficients": floats((k - 1) * vectors, seed=3).tolist(),
        "rho": floats(k * (k - 1) // 2, seed=4).tolist(),
        "classlabels_ints": list(range(10, 10 + k)),
        **more,
    }


@pytest.mark.parametrize("kernel", KERNELS)
def test_svm_classifier_kernels(kernel: str) -> None:
    for sizes in ([2, 1], [1, 2, 2], [1, 1, 2, 0]):
        judge("SVMClassifier", S, outputs=2, kernel_type=kernel, **machine(sizes))


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_svm_classifier_probabilities(kind: str) -> None:
    for sizes in ([2, 1], [1, 2, 2], [1, 1, 2, 1]):
        pairs = len(sizes) * (len(sizes) - 1) // 2
        more = {"prob_a": [-1.1] * pairs, "prob_b": floats(pairs, seed=5).tolist(), "post_transform": kind}
        exact = 1e-3 if kind == "PROBIT" else 2e-5  # near a half it takes differences of almost equal numbers
        judge("SVMClassifier", S, outputs=2, kernel_type="RBF", rtol=exact, atol=exact / 10, **machine(sizes, **more))


def test_svm_classifier_scores() -> None:
    for kind in ("NONE", "LOGISTIC"):
        judge("SVMClassifier", S, outputs=2, kernel_type="RBF", **machine([2, 1], post_transform=kind))
    for kind in ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
        judge("SVMClassifier", S, outputs=2, kernel_type="RBF", **machine([1, 2, 2], post_transform=kind))
    strings = machine([2, 1])
    del strings["classlabels_ints"]
    judge("SVMClassifier", S, outputs=2, kernel_type="RBF", classlabels_strings=["x", "y"], **strings)
    for x in (S.astype(np.float64), (S * 3).astype(np.int64)):
        judge("SVMClassifier", x, outputs=2, kernel_type="RBF", **machine([1, 2, 2]))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("positive", [False, True])
def test_svm_classifier_without_vectors(classes: int, positive: bool) -> None:
    coefficients = floats(classes * 3, seed=7)
    attributes: dict[str, Any] = {
        "coefficients": (np.abs(coefficients) if positive else coefficients).tolist(),
        "rho": [0.3] * classes,
        "kernel_params": [0.0, 0.0, 0.0],
        "classlabels_ints": list(range(10, 10 + classes)),
    }
    for kind in ("NONE", "LOGISTIC", "SOFTMAX"):
        judge("SVMClassifier", S, outputs=2, post_transform=kind, **attributes)


@pytest.mark.parametrize("kernel", KERNELS)
def test_svm_regressor(kernel: str) -> None:
    common = {"coefficients": [1.0, -0.5], "rho": [0.2], "kernel_params": [0.5, 0.1, 3.0]}
    vectors = {"n_supports": 2, "support_vectors": [0.1, 0.2, 0.3, 0.5, 0.6, 0.7]}
    for one_class in (0, 1):
        judge("SVMRegressor", S, kernel_type=kernel, one_class=one_class, **common, **vectors)
    judge("SVMRegressor", S, rho=[0.2], coefficients=[1.0, -0.5, 0.3], kernel_params=[0.0, 0, 0])


# ---------------------------------------------------------------------------------- wrong
@pytest.mark.parametrize(
    ("op_type", "x", "attributes", "reason"),
    [
        ("LabelEncoder", WORDS, {"version": 2, "keys_strings": ["a"], "values_int64s": [1, 2]}, "keys and"),
        ("LabelEncoder", WORDS, {"version": 2, "values_int64s": [1, 2]}, "must be given"),
        ("LabelEncoder", WORDS, {"version": 2, "keys_int64s": [1], "values_int64s": [1]}, "the keys are i64"),
        ("LabelEncoder", WORDS, {"version": 2, "keys_int64s": [1], "keys_strings": ["a"]}, "only"),
        ("CategoryMapper", WORDS, {"cats_strings": ["a"], "cats_int64s": [1, 2]}, "1 strings and 2 numbers"),
        ("LinearClassifier", Y, {"coefficients": [1.0, 2], "classlabels_ints": [1], "outputs": 2}, "class labels"),
        ("LinearClassifier", Y, {"coefficients": [1.0, 2, 3], "classlabels_ints": [1, 2], "outputs": 2}, "3 coef"),
        ("LinearRegressor", Y, {"coefficients": [1.0, 2], "targets": 0}, "coefficients"),
        ("LinearRegressor", Y, {"coefficients": [1.0, 2], "post_transform": "SQUARE"}, "SQUARE"),
        ("Imputer", Y, {"imputed_value_int64s": [1]}, "imputed_value_floats"),
        ("FeatureVectorizer", Y, {"inputdimensions": [1, 2]}, "one length for each"),
        ("SVMRegressor", S, {"coefficients": [1.0], "rho": [0.0], "n_supports": 2}, "coefficients must have 2"),
        ("SVMClassifier", S, {"outputs": 2, **machine([1, 1], rho=[])}, "rho must have 1"),
        ("SVMClassifier", S, {"outputs": 2, **machine([1, 1], classlabels_ints=[1, 2, 3])}, "vectors of 2"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(op_type: str, x: Array, attributes: dict[str, Any], reason: str) -> None:
    given = {k: v for k, v in attributes.items() if v != []}
    proto, _ = node_model(op_type, x, **given)
    with pytest.raises(OnnxAttributeError, match=reason) as caught:
        imported(proto)
    assert op_type in caught.value.place


def test_wide_numbers_do_not_fit() -> None:
    proto, _ = node_model("Imputer", X.astype(np.int32), imputed_value_int64s=[1 << 40])
    with pytest.raises(UairError, match="does not fit i32"):
        imported(proto)


def test_numpy_tables_survive() -> None:
    """Tensors in attributes that a writer stores as raw bytes."""
    keys = numpy_helper.from_array(np.array([1, 2], np.int64), "k")
    values = numpy_helper.from_array(np.array([0.25, 0.5], np.float32), "v")
    judge("LabelEncoder", np.array([2, 1, 5]), version=4, keys_tensor=keys, values_tensor=values)


# ----------------------------------------------------------------------------------- maps
def test_rows_become_maps() -> None:
    """A sequence of maps, read, evaluated and written."""
    x = np.array([[0.25, 0.5], [1, -1]], np.float32)
    forms: list[dict[str, Any]] = [{"classlabels_strings": ["a", "b"]}, {"classlabels_int64s": [4, 2]}]
    for labels in forms:
        proto, feeds = node_model("ZipMap", x, **labels)
        keys = next(iter(labels.values()))
        want = [dict(zip(keys, row, strict=True)) for row in x.tolist()]
        (got,) = interpreted(imported(proto), feeds)
        assert [{k: v.item() for k, v in row.items()} for row in got] == want
        for opset in OPSETS:
            assert written(proto, feeds, opset)["y0"] == want


def map_model(op_type: str, key: int, value: int, **attributes: Any) -> onnx.ModelProto:
    """A model of one node on a map."""
    proto, _ = node_model(op_type, np.zeros(1, np.float32), **attributes)
    scalar = helper.make_tensor_type_proto(value, [])
    proto.graph.input[0].type.CopyFrom(helper.make_map_type_proto(key, scalar))
    return proto


F32, I64, TEXT, F64 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.DOUBLE


@pytest.mark.parametrize(
    ("op_type", "key", "feed", "attributes"),
    [
        ("CastMap", I64, {5: 1.5, 2: -2.75, 9: 1e20}, {"cast_to": "TO_FLOAT"}),
        ("CastMap", I64, {5: 1.5, 2: -2.75, 9: 1e20}, {"cast_to": "TO_INT64"}),
        ("CastMap", I64, {5: 1.5, 2: -2.75, 9: 1e20}, {"cast_to": "TO_STRING"}),
        ("CastMap", I64, {3: 1.5, 1: 2.0}, {"cast_to": "TO_STRING", "map_form": "SPARSE", "max_map": 5}),
        ("CastMap", I64, {3: 1.5, 1: 2.0}, {"map_form": "SPARSE", "max_map": 5}),
        ("DictVectorizer", TEXT, {"a": 4.0, "c": 8.0}, {"string_vocabulary": ["a", "c", "b", "z"]}),
        ("DictVectorizer", I64, {1: 4.0, 3: 8.0}, {"int64_vocabulary": [3, 2, 1, 3]}),
    ],
)
def test_maps_become_tensors(op_type: str, key: int, feed: dict[Any, float], attributes: dict[str, Any]) -> None:
    proto = map_model(op_type, key, F32, **attributes)
    feeds: dict[str, Any] = {"x0": feed}
    want = onnxruntime_outputs(proto, feeds)
    compare(interpreted(imported(proto), feeds), want, 0, 0)
    typed: dict[str, Any] = {"x0": {k: np.asarray(v, np.float32) for k, v in feed.items()}}
    for opset in OPSETS:
        compare(list(written(proto, typed, opset).values()), want, 0, 0)


def test_maps_that_onnxruntime_cannot_be_given() -> None:
    """Its Python interface takes maps of f32 only."""
    text = map_model("CastMap", I64, TEXT, cast_to="TO_INT64")
    assert interpreted(imported(text), {"x0": {5: "7", 2: "-2.5"}})[0].tolist() == [[-2, 7]]
    with pytest.raises(EvaluationError, match="does not spell"):
        interpreted(imported(text), {"x0": {5: "seven"}})
    words = map_model("DictVectorizer", I64, TEXT, int64_vocabulary=[3, 2, 1])
    assert interpreted(imported(words), {"x0": {1: "x", 3: "y"}})[0].tolist() == [["y", "", "x"]]
    doubles = map_model("DictVectorizer", TEXT, F64, string_vocabulary=["a", "b"])
    assert interpreted(imported(doubles), {"x0": {"b": 0.1}})[0].tolist() == [[0.0, 0.1]]
    whole = map_model("DictVectorizer", TEXT, I64, string_vocabulary=["a", "b"])
    assert interpreted(imported(whole), {"x0": {"b": 1 << 60}})[0].tolist() == [[0, 1 << 60]]


def test_keys_out_of_range() -> None:
    proto = map_model("CastMap", I64, F32, map_form="SPARSE", max_map=5)
    for key in (-1, 5):
        with pytest.raises(EvaluationError, match="not places of 5"):
            interpreted(imported(proto), {"x0": {key: 1.0}})
    with pytest.raises(UairError, match="length must be"):
        imported(map_model("CastMap", I64, F32, map_form="SPARSE", max_map=1 << 60))
