"""Ensembles of trees of every form against onnxruntime; unsound ones are refused in bounded time."""

from __future__ import annotations

import itertools
import operator
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.frontends.onnx.classical import judge, node_model
from tests.frontends.onnx.models import imported, interpreted, onnxruntime_outputs, op_types
from uair.codegen.onnx import model_bytes
from uair.errors import EvaluationError, UairError
from uair.frontends.onnx import load_bytes
from uair.frontends.onnx.errors import OnnxAttributeError
from uair.ir.dtype import Array
from uair.ops import TreeEnsemble

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [np.nan, 0.5], [0.5, np.nan]], np.float32)
NODES: dict[str, Any] = {
    "nodes_treeids": [0, 0, 0, 1, 1, 1],
    "nodes_nodeids": [0, 1, 2, 0, 1, 2],
    "nodes_featureids": [0, 0, 0, 1, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"],
    "nodes_values": [0.5, 0, 0, 0.5, 0, 0],
    "nodes_truenodeids": [1, 0, 0, 1, 0, 0],
    "nodes_falsenodeids": [2, 0, 0, 2, 0, 0],
}
LEAVES = {"treeids": [0, 0, 1, 1], "nodeids": [1, 2, 1, 2]}
ONE: dict[str, Any] = {"ids": [0, 0, 0, 0], "weights": [0.1, 0.2, 0.3, 0.05]}
THREE = {"ids": [0, 1, 0, 2], "weights": [0.1, 0.2, 0.3, -0.4]}
DENSE: dict[str, Any] = {
    "treeids": [0] * 6 + [1] * 6,
    "nodeids": [1, 1, 1, 2, 2, 2] * 2,
    "ids": [0, 1, 2] * 4,
    "weights": [0.1, 0.2, -0.3, 0.4, 0.5, 0.6, -0.7, 0.8, 0.9, 1, 1.1, 1.2],
}
MIXED = {"ids": [0, 0, 0, 0], "weights": [-0.1, 0.2, 0.3, -0.35]}


def votes(prefix: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    merged = {**NODES, **more}
    for part in (LEAVES, *parts):
        merged.update({f"{prefix}_{name}": values for name, values in part.items()})
    return merged


def regressor(
    x: Array, *parts: dict[str, Any], version: Any = 3, want: Any = None, opsets: Any = (11, 17, 22), **more: Any
) -> Any:
    return judge(
        "TreeEnsembleRegressor", x, version=version, want=want, opsets=opsets, **votes("target", *parts, **more)
    )


def classifier(x: Array, *parts: dict[str, Any], version: Any = 3, want: Any = None, **more: Any) -> Any:
    return judge("TreeEnsembleClassifier", x, version=version, outputs=2, want=want, **votes("class", *parts, **more))


# ----------------------------------------------------------------------------- regressors
@pytest.mark.parametrize("version", [1, 3])
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_regressor(aggregate: str, version: int) -> None:
    module = regressor(X, ONE, version=version, n_targets=1, aggregate_function=aggregate, base_values=[1.0])
    assert op_types(module) == ["TreeEnsemble", "Add"]
    regressor(X, DENSE, version=version, n_targets=3, aggregate_function=aggregate, base_values=[1.0, 2, 3])
    regressor(X, THREE, version=version, n_targets=3, aggregate_function=aggregate)


@pytest.mark.parametrize("missing", [None, [1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [1, 0, 0, 1, 0, 0]])
@pytest.mark.parametrize("mode", ["LEQ", "LT", "GTE", "GT", "EQ", "NEQ"])
def test_modes(mode: str, missing: Any) -> None:
    modes = [f"BRANCH_{mode}", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"]
    more = {} if missing is None else {"nodes_missing_value_tracks_true": missing}
    regressor(X, ONE, n_targets=1, nodes_modes=modes, **more)


def test_regressor_transforms() -> None:
    for kind in ("SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"):
        regressor(X, THREE, n_targets=3, post_transform=kind)
    regressor(X, ONE, n_targets=1, post_transform="PROBIT")
    score = np.array([[0.4], [0.15], [0.5], [0.25], [0.25], [0.15]], np.float32)
    want = 1 / (1 + np.exp(-score))  # of one target onnxruntime leaves it out
    regressor(X, ONE, n_targets=1, post_transform="LOGISTIC", want=[want.astype(np.float32)])


def test_types_of_operands() -> None:
    whole = np.array([[0, 1], [1, 0], [-3, 7]])
    score = np.array([[0.15], [0.5], [0.15]], np.float32)
    for kind in (np.int32, np.int64):
        regressor(whole.astype(kind), ONE, n_targets=1, want=[score])
    regressor(X.astype(np.float64), ONE, n_targets=1, opsets=(17, 22))
    stored = helper.make_tensor("w", TensorProto.DOUBLE, [4], ONE["weights"])
    attributes = votes("target", {"ids": ONE["ids"]}, target_weights_as_tensor=stored, n_targets=1)
    splits = attributes.pop("nodes_values")
    attributes["nodes_values_as_tensor"] = helper.make_tensor("s", TensorProto.DOUBLE, [6], splits)
    judge("TreeEnsembleRegressor", X.astype(np.float64), version=3, opsets=(17, 22), **attributes)


def test_leaves_of_several_votes_and_of_none() -> None:
    several = {"treeids": [0, 0, 0, 1], "nodeids": [1, 1, 2, 1], "ids": [0, 1, 1, 0], "weights": [0.1, 0.2, 0.3, 0.4]}
    for aggregate in ("SUM", "AVERAGE"):
        regressor(X, several, n_targets=2, aggregate_function=aggregate)
    for aggregate in ("MIN", "MAX"):
        regressor(X, several, n_targets=2, aggregate_function=aggregate, opsets=(11, 17))


def test_a_tree_that_is_a_leaf_and_nodes_that_share_one_below() -> None:
    nodes = {
        "nodes_treeids": [0, 0, 0, 0, 5],
        "nodes_nodeids": [0, 1, 2, 3, 0],
        "nodes_featureids": [0, 1, 0, 0, 0],
        "nodes_modes": ["BRANCH_EQ", "BRANCH_EQ", "LEAF", "LEAF", "LEAF"],
        "nodes_values": [1.0, 1, 0, 0, 0],
        "nodes_truenodeids": [2, 2, 0, 0, 0],
        "nodes_falsenodeids": [1, 3, 0, 0, 0],
    }
    leaves = {"treeids": [0, 0, 5], "nodeids": [2, 3, 0], "ids": [0, 0, 0], "weights": [1.0, 2, 40]}
    regressor(X, leaves, n_targets=1, **nodes)


# ---------------------------------------------------------------------------- classifiers
@pytest.mark.parametrize("version", [1, 3])
def test_classifier_of_several_classes(version: int) -> None:
    for kind in ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
        classifier(X, THREE, version=version, classlabels_strings=["a", "b", "c"], post_transform=kind)
    classifier(X, THREE, version=version, classlabels_int64s=[4, 5, 6], base_values=[-1.0, -1, -1])


@pytest.mark.parametrize("part", [ONE, MIXED], ids=["positive", "mixed"])
def test_classifier_of_two_classes_with_votes_for_one(part: dict[str, Any]) -> None:
    for kind, base in itertools.product(("NONE", "LOGISTIC"), ({}, {"base_values": [0.25]})):
        classifier(X, part, classlabels_int64s=[3, 8], post_transform=kind, **base)
        classifier(X, part, classlabels_strings=["no", "yes"], post_transform=kind, **base)
    for kind in ("NONE", "LOGISTIC"):
        classifier(X, {**part, "ids": [1, 1, 1, 1]}, classlabels_int64s=[3, 8], post_transform=kind)


def test_classifier_of_two_classes_with_votes_for_both() -> None:
    """The label is the better class's, as the specification has it: onnxruntime gives 0 and 1 whatever they are."""
    both = {"treeids": [0, 0, 1, 1], "nodeids": [1, 2, 1, 2], "ids": [0, 1, 1, 0], "weights": [0.25, 0.5, 0.125, 1]}
    scores = np.array([[0.25, 0.125], [1.25, 0], [0, 0.625], [1, 0.5], [1, 0.5], [1.25, 0]], np.float32)
    labels = np.array([3, 3, 8, 3, 3, 3])
    classifier(X, both, classlabels_int64s=[3, 8], want=[labels, scores])


def test_classifier_of_one_class() -> None:
    classifier(X, ONE, classlabels_int64s=[1])


# ------------------------------------------------------------------------------ version 5
def tensor(kind: int, values: Any) -> Any:
    return helper.make_tensor("t", kind, [len(values)], values)


def sets(kind: Any = TensorProto.FLOAT, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "nodes_splits": tensor(kind, [3.14, 1.2, 4.2]),
        "nodes_featureids": [0, 0, 1],
        "nodes_modes": tensor(TensorProto.UINT8, [0, 1, 3]),
        "nodes_truenodeids": [1, 0, 1],
        "nodes_falsenodeids": [2, 2, 3],
        "nodes_trueleafs": [0, 1, 1],
        "nodes_falseleafs": [0, 1, 1],
        "leaf_targetids": [0, 1, 0, 1],
        "leaf_weights": tensor(kind, [5.23, 12.12, -12.23, 7.21]),
        "tree_roots": [0],
        "n_targets": 2,
    }
    return {**given, **more}


V = np.array([1.2, 3.4, -0.12, 1.66, 4.14, 1.77], np.float32).reshape(3, 2)


@pytest.mark.parametrize("aggregate", range(4))
def test_tree_ensemble(aggregate: int) -> None:
    for roots in ([0], [0, 1], [2, 0]):
        judge("TreeEnsemble", V, version=5, opsets=(11, 22), **sets(aggregate_function=aggregate, tree_roots=roots))


def test_tree_ensemble_of_other_types_and_transforms() -> None:
    judge("TreeEnsemble", V, version=5, opsets=(17, 22), **sets(post_transform=3))
    scores = np.array(
        [[-12.23, 0], [5.23, 0], [0, 7.21]], np.float32
    )  # 1 is softmax; to onnxruntime it is the logistic
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    want = [e / e.sum(axis=1, keepdims=True), 1 / (1 + np.exp(-scores))]
    for kind, result in enumerate(want, 1):
        judge("TreeEnsemble", V, version=5, opsets=(17, 22), want=[result], **sets(post_transform=kind))
    judge("TreeEnsemble", V.astype(np.float64), version=5, opsets=(22,), **sets(TensorProto.DOUBLE))
    module = imported(node_model("TreeEnsemble", V.astype(np.float16), version=5, **sets(TensorProto.FLOAT16))[0])
    assert str(module.main.outputs[0].type) == "f16[3,2]"


def test_membership() -> None:
    x = np.array([1.2, 3.4, -0.12, np.nan, 12, 7], np.float32).reshape(-1, 1)
    modes = tensor(TensorProto.UINT8, [6, 1, 6])
    members = tensor(TensorProto.FLOAT, [1.2, 3.7, 8.0, float("nan"), 12, 7, float("nan")])
    more: dict[str, Any] = {"nodes_modes": modes, "membership_values": members, "nodes_featureids": [0, 0, 0]}
    judge("TreeEnsemble", x, version=5, opsets=(11, 22), **sets(**more))
    judge("TreeEnsemble", x, version=5, opsets=(11, 22), **sets(nodes_missing_value_tracks_true=[0, 0, 1], **more))


def test_a_root_whose_branches_are_one_leaf() -> None:
    more = {"nodes_truenodeids": [1, 0, 3], "nodes_falsenodeids": [2, 2, 3], "tree_roots": [2, 1]}
    judge("TreeEnsemble", V, version=5, opsets=(11, 22), **sets(**more))


# -------------------------------------------------------------------------------- unsound
@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"nodes_truenodeids": [0, 0, 1]}, "back to a node above"),
        ({"nodes_truenodeids": [1, 0, 1], "nodes_trueleafs": [0, 0, 1]}, "back to a node above"),
        ({"nodes_truenodeids": [9, 0, 1]}, "leads to none of the 3 nodes"),
        ({"nodes_truenodeids": [1, 9, 1]}, "leads to none of the 3 nodes"),
        ({"nodes_truenodeids": [-1, 0, 1]}, "negative"),
        ({"nodes_truenodeids": [1, 0]}, "one length"),
        ({"nodes_featureids": [0, 0, 5]}, "there are 2"),
        ({"nodes_featureids": [0, 0, -1]}, "feature"),
        ({"leaf_targetids": [0, 1, 0, 2]}, "none of the 2 targets"),
        ({"leaf_targetids": [0, 1, 0]}, "differ in length"),
        ({"tree_roots": [3]}, "leads to none of the 3 nodes"),
        ({"nodes_modes": tensor(TensorProto.UINT8, [0, 1, 7])}, "a mode is none"),
        ({"nodes_modes": tensor(TensorProto.UINT8, [0, 1, 6])}, "ask for membership"),
        ({"nodes_modes": tensor(TensorProto.INT64, [0, 1, 2])}, "must be u8"),
        ({"aggregate_function": 4}, "expected 0 to 3"),
        ({"post_transform": -1}, "expected 0 to 4"),
    ],
)
def test_unsound_ensembles_are_refused(more: dict[str, Any], reason: str) -> None:
    proto, _ = node_model("TreeEnsemble", V, version=5, **sets(**more))
    with pytest.raises(OnnxAttributeError, match=reason):
        imported(proto)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"nodes_truenodeids": [0, 0, 0, 1, 0, 0]}, "back to a node above"),
        ({"nodes_truenodeids": [7, 0, 0, 1, 0, 0]}, "truenodeids is not listed"),
        ({"nodes_nodeids": [0, 1, 1, 0, 1, 2]}, "listed twice"),
        ({"nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF", "TWIG", "LEAF", "LEAF"]}, "TWIG"),
        ({"nodes_values": [0.5]}, "differ in length"),
        ({"target_nodeids": [1, 2, 1, 7]}, "vote is of a node"),
        ({"target_ids": [0, 0, 0, 9]}, "none of the 1 targets"),
        ({"target_weights": [0.5]}, "votes differ in length"),
        ({"base_values": [0.5, 1.0]}, "2 base values for 1"),
    ],
)
def test_unsound_regressors_are_refused(more: dict[str, Any], reason: str) -> None:
    attributes = {**votes("target", ONE, n_targets=1), **more}
    with pytest.raises(OnnxAttributeError, match=reason):
        imported(node_model("TreeEnsembleRegressor", X, version=3, **attributes)[0])


def test_a_large_circle_is_found_at_once() -> None:
    n = 200_000
    step = np.arange(n)
    circle = np.roll(step, -1)
    empty = np.zeros(0, np.int64)
    arrays = (np.zeros(n, np.int64), np.zeros(n, np.uint8), np.zeros(n, np.float32), circle, circle, np.array([0]))
    started = time.monotonic()
    with pytest.raises(EvaluationError, match="back to a node above"):
        TreeEnsemble().evaluate(X, *arrays, np.zeros(1, np.int64), empty, np.zeros(0, np.float32))
    assert time.monotonic() - started < 10


def test_a_deep_tree_takes_as_many_steps_as_it_is_deep() -> None:
    n = 5000
    step = np.arange(n)
    arrays = (np.zeros(n, np.int64), np.full(n, 1, np.uint8), np.arange(n, dtype=np.float32), ~np.zeros(n, np.int64))
    down = np.where(step == n - 1, ~np.ones(n, np.int64), step + 1)
    leaves = (np.array([0]), np.array([0, 1, 2]), np.array([0, 0]), np.array([1, 2], np.float32))
    got = TreeEnsemble().evaluate(np.array([[-1], [n - 2], [n]], np.float32), *arrays, down, *leaves)
    assert got.tolist() == [[1], [1], [2]]


def test_random_forests_against_onnxruntime() -> None:
    """Trees of random shape, features, modes and votes, in both forms."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        attributes = random_forest(rng, trees=7, n_features=4, n_targets=3)
        x = np.round(rng.standard_normal((40, 4)), 1).astype(np.float32)
        judge("TreeEnsembleRegressor", x, version=1, rtol=1e-4, atol=1e-5, **attributes)


def random_forest(rng: np.random.Generator, trees: int, n_features: int, n_targets: int) -> dict[str, Any]:
    """Attributes of a regressor."""
    nodes: dict[str, list[Any]] = {name: [] for name in NODES}
    found: dict[str, list[Any]] = {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(trees):
        count = 2 * int(rng.integers(1, 16)) + 1
        below = {p: (2 * p + 1, 2 * p + 2) for p in range(count // 2)}
        for p in range(count):
            yes, no = below.get(p, (0, 0))
            mode = "LEAF" if p not in below else "BRANCH_" + str(rng.choice(["LEQ", "LT", "GTE", "GT", "EQ", "NEQ"]))
            split = float(np.float32(np.round(rng.standard_normal(), 1)))
            row = (tree, p, int(rng.integers(n_features)), mode, split, yes, no)
            for name, value in zip(NODES, row, strict=True):
                nodes[name].append(value)
            for target in rng.permutation(n_targets)[: 0 if p in below else int(rng.integers(1, n_targets + 1))]:
                vote = (tree, p, int(target), float(np.float32(rng.standard_normal())))
                for name, value in zip(found, vote, strict=True):
                    found[name].append(value)
    return {**nodes, **found, "n_targets": n_targets}


def test_reasons_name_the_node() -> None:
    with pytest.raises(UairError) as caught:
        imported(node_model("TreeEnsemble", V, version=5, **sets(tree_roots=[3]))[0])
    assert "ai.onnx.ml.TreeEnsemble" in caught.value.place


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_numbers_give_a_result_or_a_reason(data: st.DataObject) -> None:
    """Ids, roots and modes drawn at random: trees, shared nodes and circles among them."""
    n, leaves = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))

    def some(count: int, low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    flags = some(n, 0, 1), some(n, 0, 1)
    attributes = sets(
        nodes_splits=tensor(TensorProto.FLOAT, [float(v) for v in some(n, -2, 2)]),
        nodes_featureids=some(n, 0, 1 if data.draw(st.booleans()) else 2),
        nodes_modes=tensor(TensorProto.UINT8, some(n, 0, 5)),
        nodes_truenodeids=[v % (leaves if leaf else n) for v, leaf in zip(some(n, 0, 9), flags[0], strict=True)],
        nodes_falsenodeids=[v % (leaves if leaf else n) for v, leaf in zip(some(n, 0, 9), flags[1], strict=True)],
        nodes_trueleafs=flags[0],
        nodes_falseleafs=flags[1],
        leaf_targetids=some(leaves, 0, 1),
        leaf_weights=tensor(TensorProto.FLOAT, [float(v) for v in some(leaves, -3, 3)]),
        tree_roots=some(data.draw(st.integers(1, 3)), 0, n - 1),
        aggregate_function=data.draw(st.integers(0, 3)),
    )
    proto, feeds = node_model("TreeEnsemble", V, version=5, **attributes)
    try:
        module = imported(proto)
    except OnnxAttributeError as error:
        assert "TreeEnsemble" in error.place
        return
    (got,) = interpreted(module, feeds)
    np.testing.assert_array_equal(got, by_hand(attributes, V))


def by_hand(a: dict[str, Any], x: Array) -> Array:
    """The same, one row and tree at a time."""
    modes, splits, weights = (numpy_helper.to_array(a[k]) for k in ("nodes_modes", "nodes_splits", "leaf_weights"))
    asks = [operator.le, operator.lt, operator.ge, operator.gt, operator.eq, operator.ne]
    result = np.zeros((len(x), 2), np.float32)
    for i, row in enumerate(x):
        for target in range(2):
            votes_for: list[Any] = []
            for node in a["tree_roots"]:
                leaf = False
                while not leaf:
                    yes = asks[modes[node]](row[a["nodes_featureids"][node]], splits[node])
                    which = "true" if yes else "false"
                    leaf, node = bool(a[f"nodes_{which}leafs"][node]), a[f"nodes_{which}nodeids"][node]
                if a["leaf_targetids"][node] == target:
                    votes_for.append(weights[node])
            if votes_for:
                kind = a["aggregate_function"]
                total = np.float32(sum(votes_for)) if kind < 2 else min(votes_for) if kind == 2 else max(votes_for)
                result[i, target] = total / np.float32(len(a["tree_roots"])) if kind == 0 else total
    return result


def forest(trees: int, depth: int, shuffled: bool = False) -> dict[str, Any]:
    """Attributes of a classifier of whole trees; shuffled, only the roots come first, and the numbers have gaps."""
    rng = np.random.default_rng(0)
    inner, size = 2**depth - 1, 2 ** (depth + 1) - 1
    count, roots = trees * size, size * np.arange(trees)
    of_tree, tree = np.tile(np.arange(size), trees), np.repeat(np.arange(trees), size)
    leaf, number = of_tree >= inner, 7 * np.arange(size) - 3 if shuffled else np.arange(size)
    yes, no = (np.where(leaf, 0, number[(2 * of_tree + i) % size]) for i in (1, 2))
    features, splits = rng.integers(0, 4, count), rng.normal(size=count).astype(np.float32)
    classes, weights = rng.integers(0, 5, count), rng.random(count).astype(np.float32)
    others = rng.permutation(np.setdiff1d(np.arange(count), roots))
    order = np.concatenate([roots, others]) if shuffled else np.arange(count)
    voters = order[leaf[order]]
    lists = {
        "nodes_treeids": 5 * tree[order],
        "nodes_nodeids": number[of_tree[order]],
        "nodes_featureids": features[order],
        "nodes_values": splits[order],
        "nodes_truenodeids": yes[order],
        "nodes_falsenodeids": no[order],
        "class_treeids": 5 * tree[voters],
        "class_nodeids": number[of_tree[voters]],
        "class_ids": classes[voters],
        "class_weights": weights[voters],
        "classlabels_int64s": np.arange(5),
    }
    modes = ["LEAF" if is_leaf else "BRANCH_LEQ" for is_leaf in leaf[order]]
    return {name: values.tolist() for name, values in lists.items()} | {"nodes_modes": modes}


def test_nodes_in_any_order_with_gaps_in_their_numbers() -> None:
    """onnxruntime, which does not read such numbers, judges by the same ensemble in order."""
    x = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    proto, feeds = node_model("TreeEnsembleClassifier", x, version=3, outputs=2, **forest(6, 4))
    want = onnxruntime_outputs(proto, feeds)
    for shuffled in (False, True):
        lists = forest(6, 4, shuffled)
        judge("TreeEnsembleClassifier", x, version=3, outputs=2, want=want, opsets=(11, 17), **lists)


def test_a_large_ensemble_is_read_and_written_in_time() -> None:
    """400,000 nodes, which took 6 seconds node by node; the bound is on the processor's time, and wide."""
    x = np.zeros((1, 4), np.float32)
    proto, _ = node_model("TreeEnsembleClassifier", x, version=3, outputs=2, **forest(12, 14))
    raw = proto.SerializeToString()
    began = time.process_time()
    written = model_bytes(load_bytes(raw), opset=17)
    assert time.process_time() - began < 4
    assert len(written) == pytest.approx(len(raw), rel=1e-3)
