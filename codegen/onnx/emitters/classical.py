"""Classical machine learning: operators of ONNX's domain ai.onnx.ml."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from onnx import helper

from uair.codegen.onnx.emitters.text import fixed
from uair.codegen.onnx.schema import ML_DOMAIN, ONNX_TYPE, NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType
from uair.ops._trees import MEMBER, MODES, Trees
from uair.ops.classical import LabelEncoder, LinearClassifier, PairwiseCoupling, TreeClassifier, TreeEnsemble
from uair.ops.elementwise import Cast

EMITTERS = Emitters()
_ML = f"{ML_DOMAIN}::"

_LISTS = {DType.I64: ("int64s", "int64"), DType.F32: ("floats", "float"), DType.STRING: ("strings", "string")}
_BRANCHES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
_MODE_NAMES = np.array([name.encode() for name in (*_BRANCHES, "LEAF")], object)
_AGGREGATES = ("average", "sum", "min", "max")  # by ONNX's number
_TREE_SETS = 5  # the version of the domain that has TreeEnsemble
_TENSORS = 4  # the one from which on a table's keys and values may be tensors, and a key NaN
_EQUAL = MODES.index("eq")
_DOUBLES = 3  # the one from which on thresholds may be f64


# ------------------------------------------------------------------------- tables
@EMITTERS.of(LabelEncoder)
def label_encoder(e: Emission, op: LabelEncoder) -> None:
    """Of equal keys only the last is written: runtimes differ in which of them counts."""
    keys, values, default = fixed(e, 1, "keys"), fixed(e, 2, "values"), fixed(e, 3, "the default")
    version = e.graph.version(ML_DOMAIN)
    name, keys = _listed(e, e.x(), keys)
    kept = _last_of_equal(keys)
    keys, values = keys[kept], values[kept]
    if version < _TENSORS and keys.dtype.kind == "f" and np.isnan(keys).any():
        raise NotExpressible(f"a table of version {version} of {ML_DOMAIN} cannot have NaN as a key")
    through = _carrier(DType.from_numpy(values.dtype))
    y = TensorType(through, e.y.shape)
    attributes = _table(keys, values.astype(through.numpy), default.astype(through.numpy), version)
    if through is e.y.dtype:
        e.result(_ML + "LabelEncoder", name, **attributes)
        return
    e.result("Cast", e.op(_ML + "LabelEncoder", name, type=y, **attributes), to=e.y.dtype)


def _listed(e: Emission, name: str, keys: Array) -> tuple[str, Array]:
    """The operand and its keys in a type that tables have."""
    through = _carrier(DType.from_numpy(keys.dtype))
    return e.cast(name, through), keys.astype(through.numpy)


def _carrier(dtype: DType) -> DType:
    """The type of a table that holds every value of a type.

    Raises:
        NotExpressible: none does.
    """
    if dtype in (DType.F64, *_LISTS):
        return dtype
    if dtype.is_float:
        return DType.F32
    if not dtype.is_integer or dtype is DType.U64:
        raise NotExpressible(f"ONNX has no table of {dtype}")
    return DType.I64


def _last_of_equal(keys: Array) -> Array:
    """Places of the keys that no later one equals, ascending."""
    if keys.dtype == object:
        return np.array(sorted({key: place for place, key in enumerate(keys.tolist())}.values()), np.int64)
    _, first = np.unique(keys[::-1], return_index=True)
    return np.sort(len(keys) - 1 - first)


def _table(keys: Array, values: Array, default: Array, version: int) -> dict[str, Any]:
    """The attributes."""
    types = DType.from_numpy(keys.dtype), DType.from_numpy(values.dtype)
    if all(t in _LISTS for t in types):
        names = [_LISTS[t] for t in types]
        return {
            f"keys_{names[0][0]}": keys.tolist(),
            f"values_{names[1][0]}": values.tolist(),
            f"default_{names[1][1]}": default.item(),
        }
    if version < _TENSORS:
        raise NotExpressible(f"version {version} of {ML_DOMAIN} has no table from {types[0]} to {types[1]}")
    return {
        "keys_tensor": _tensor("keys", keys),
        "values_tensor": _tensor("values", values),
        "default_tensor": _tensor("default", default.reshape(1)),
    }


def _tensor(name: str, values: Array) -> Any:
    dtype = DType.from_numpy(values.dtype)
    if dtype is DType.STRING:
        return helper.make_tensor(name, ONNX_TYPE[dtype], values.shape, [s.encode() for s in values.tolist()])
    return helper.make_tensor(name, ONNX_TYPE[dtype], values.shape, values.tobytes(), raw=True)


# ---------------------------------------------------------------------- linear
_TRANSFORMS = {"none": "NONE", "logistic": "LOGISTIC", "softmax": "SOFTMAX"}


@EMITTERS.of(LinearClassifier)
def linear_classifier(e: Emission, op: LinearClassifier) -> None:
    """Weights and labels are attributes; a bias is always given, as ONNX's inference takes the classes' number from it.

    One class alone ONNX reads as the second of two.
    """
    w, labels = fixed(e, 1, "the weights"), fixed(e, 2, "the labels")
    if len(labels) == 1:
        raise NotExpressible("a classifier of ONNX has two classes at least")
    bias = fixed(e, 3, "the bias") if len(e.node.inputs) > 3 else np.zeros(len(labels), np.float32)
    attributes: dict[str, Any] = {
        "coefficients": w.reshape(-1).tolist(),
        "intercepts": bias.tolist(),
        "multi_class": int(len(labels) > 2),
        "post_transform": _TRANSFORMS[op.transform],
        "classlabels_strings" if labels.dtype == object else "classlabels_ints": labels.tolist(),
    }
    results = [e.graph.name(t) for t in e.node.outputs]
    e.graph.add("LinearClassifier", [e.x()], results, attributes, e.node.name or results[0], ML_DOMAIN)


# ------------------------------------------------------------------ probabilities
@EMITTERS.of(PairwiseCoupling)
def pairwise(e: Emission, op: PairwiseCoupling) -> None:
    """As the second result of an SVMClassifier whose linear machine of each pair gives that pair's column of x.

    Class i has one support vector for each pair (i, j) that it comes first in, the unit vector of the pair's column;
    the coefficients of j's machine are 1 there.
    """
    k, pairs = op.classes(), len(op.a)
    i, j = np.triu_indices(k, 1)
    coefficients = np.zeros((k - 1, pairs), np.float32)
    coefficients[j - 1, np.arange(pairs)] = 1
    labels = e.graph.fresh(f"{e.graph.name(e.node.outputs[0])}_class", TensorType(DType.I64, e.y.dims[:1]))
    attributes = {
        "classlabels_ints": list(range(k)),
        "coefficients": coefficients.reshape(-1).tolist(),
        "kernel_params": [0.0, 0.0, 0.0],
        "kernel_type": "LINEAR",
        "prob_a": op.a,
        "prob_b": op.b,
        "rho": [0.0] * pairs,
        "support_vectors": np.eye(pairs, dtype=np.float32).reshape(-1).tolist(),
        "vectors_per_class": np.bincount(i, minlength=k).tolist(),
    }
    result = e.graph.name(e.node.outputs[0])
    e.graph.add("SVMClassifier", [e.x()], [labels, result], attributes, e.node.name or result, ML_DOMAIN)


# -------------------------------------------------------------------------- trees
@EMITTERS.of(TreeEnsemble)
def tree_ensemble(e: Emission, op: TreeEnsemble) -> None:
    """TreeEnsemble where the operator set has it, else TreeEnsembleRegressor."""
    given = [fixed(e, i, "the trees") if e.given(i) else None for i in range(1, len(e.node.inputs))]
    trees = op.trees(given)
    flaw = trees.flaw(op.n_targets)
    if flaw:
        raise NotExpressible(f"the trees are not sound: {flaw}")
    if e.graph.version(ML_DOMAIN) >= _TREE_SETS:
        _with_sets(e, op, trees, e.type().dtype)
    else:
        _regressor(e, op, trees, e.type().dtype)


@EMITTERS.of(TreeClassifier)
def tree_classifier(e: Emission, op: TreeClassifier) -> None:
    """TreeEnsembleClassifier, where its readers understand by the votes what the operator says.

    They take two classes for one total where all votes are for one of them, and the total for a probability where no
    weight is negative. onnxruntime has no labels but 0 and 1 for two classes with totals of their own, and passes over
    the softmax of one total.
    """
    given = [fixed(e, i, "the trees") if e.given(i) else None for i in (*range(1, 10), 12, 13)]
    trees, labels = TreeEnsemble.trees(given), fixed(e, 10, "the labels")
    base = fixed(e, 11, "the base values") if e.given(11) else None
    double, version = e.type().dtype is DType.F64, e.graph.version(ML_DOMAIN)
    flaw = trees.flaw(len(labels) if op.form == "each" else 1)
    if flaw:
        raise NotExpressible(f"the trees are not sound: {flaw}")
    if version >= _TREE_SETS:
        raise NotExpressible("trees that classify exist up to opset 20")
    if double and version < _DOUBLES:
        raise NotExpressible("trees in f64 exist from opset 16 on")
    reason = _misread_votes(op, trees, labels)
    if reason:
        raise NotExpressible(reason)
    if op.form != "each":
        trees = attrs.evolve(trees, targets=np.full_like(trees.targets, op.voted))
    lists = _node_attributes(_without_sets(trees), double) if e.graph.kept else {}
    attributes = {name.replace("target_", "class_"): value for name, value in lists.items()} | {
        "post_transform": _TRANSFORMS[op.transform],
        "classlabels_strings" if labels.dtype == object else "classlabels_int64s": labels.tolist(),
    }
    if base is not None:
        attributes |= {"base_values_as_tensor": _tensor("base", base)} if double else {"base_values": base.tolist()}
    results = [e.graph.name(t) for t in e.node.outputs]
    e.graph.add("TreeEnsembleClassifier", [e.x()], results, attributes, e.node.name or results[0], ML_DOMAIN)


def _misread_votes(op: TreeClassifier, trees: Trees, labels: Array) -> str:
    """Why onnxruntime would compute something else from the votes; empty when it does not."""
    if op.form == "each":
        if len(labels) > 2:
            return ""
        if len(np.unique(trees.targets)) == 1:
            return "a classifier whose votes are all for one of two classes has one total"
        return "" if labels.tolist() == [0, 1] else "two classes with totals of their own are 0 and 1 to onnxruntime"
    if not len(trees.targets) or bool((trees.weights >= 0).all()) != (op.form == "probability"):
        return "whether a total is a probability is for a classifier to see by its weights"
    return "onnxruntime passes over the softmax of one total" if op.transform == "softmax" and not op.voted else ""


def _with_sets(e: Emission, op: TreeEnsemble, trees: Trees, dtype: DType) -> None:
    """Leaves have one vote each there: an ensemble whose leaves have several is written once for each of them.

    Narrow types are computed in f32, for which alone there are kernels.
    """
    wide = dtype if dtype in (DType.F32, DType.F64) else DType.F32
    rounds = _votes_of_leaves(op, trees)
    averaged = rounds > 1 and op.aggregate == "average"
    aggregate = "sum" if averaged else op.aggregate
    attributes = _set_attributes(op, _one_vote_each(trees, rounds), aggregate, wide) if e.graph.kept else {}
    x, y = e.cast(e.x(), wide), e.y.with_dtype(wide)
    if not averaged and wide is dtype:
        e.result(_ML + "TreeEnsemble", x, **attributes)
        return
    name = e.op(_ML + "TreeEnsemble", x, type=y, **attributes)
    if averaged and wide is dtype:
        e.result("Div", name, e.literal(len(trees.roots), wide))
        return
    e.result("Cast", e.op("Div", name, e.literal(len(trees.roots), wide)) if averaged else name, to=dtype)


def _votes_of_leaves(op: TreeEnsemble, trees: Trees) -> int:
    """The most votes that a leaf has."""
    votes = np.diff(trees.starts)
    most = int(votes.max(initial=1))
    if op.aggregate in ("min", "max") and (votes != most).any():
        raise NotExpressible(f"leaves with different numbers of votes cannot be written with {op.aggregate!r}")
    return most


def _one_vote_each(trees: Trees, rounds: int) -> Trees:
    """The trees `rounds` times, once for each vote of a leaf, without roots that are leaves."""
    votes = np.diff(trees.starts)
    nodes, leaves = len(trees.modes), len(votes)
    vote = trees.starts[:-1] + np.arange(rounds)[:, None]
    there = np.arange(rounds)[:, None] < votes
    vote = np.where(there, vote, 0)
    targets = np.where(there, trees.targets[vote], 0) if len(trees.targets) else np.zeros(vote.shape, np.int64)
    weights = np.where(there, trees.weights[vote], 0) if len(trees.targets) else np.zeros(vote.shape)
    stumps = trees.roots[trees.roots < 0]
    roots = np.where(trees.roots < 0, nodes + np.cumsum(trees.roots < 0) - 1, trees.roots)
    step, size = np.arange(rounds)[:, None], nodes + len(stumps)

    def repeated(next_: Array) -> Array:
        follow = np.concatenate([next_, stumps])
        return np.where(follow < 0, follow - step * leaves, follow + step * size).reshape(-1)

    def padded(values: Array, fill: Any = 0) -> Array:
        return np.tile(np.concatenate([values, np.full(len(stumps), fill, values.dtype)]), rounds)

    return Trees(
        padded(trees.features),
        padded(trees.modes),
        padded(trees.splits),
        repeated(trees.true_next),
        repeated(trees.false_next),
        (roots + step * size).reshape(-1),
        np.arange(rounds * leaves + 1),
        targets.reshape(-1),
        weights.astype(trees.weights.dtype).reshape(-1),
        None if trees.missing is None else padded(trees.missing, False),
        None if trees.members is None else _repeated_sets(trees.members, rounds),
    )


def _repeated_sets(members: Array, rounds: int) -> Array:
    """Sets end with NaN, the last one too."""
    ended = members if not len(members) or np.isnan(members[-1]) else np.append(members, members.dtype.type(np.nan))
    return np.tile(ended, rounds)


def _set_attributes(op: TreeEnsemble, trees: Trees, aggregate: str, dtype: DType) -> dict[str, Any]:
    def reals(name: str, values: Array) -> Any:
        return _tensor(name, values.astype(dtype.numpy))

    def branch(next_: Array) -> Array:
        return np.where(next_ < 0, ~next_, next_)

    return {
        "aggregate_function": _AGGREGATES.index(aggregate),
        "leaf_targetids": trees.targets,
        "leaf_weights": reals("leaf_weights", trees.weights),
        "membership_values": None if trees.members is None else reals("membership_values", trees.members),
        "n_targets": op.n_targets,
        "nodes_falseleafs": (trees.false_next < 0).astype(np.int64),
        "nodes_falsenodeids": branch(trees.false_next),
        "nodes_featureids": trees.features,
        "nodes_missing_value_tracks_true": None if trees.missing is None else trees.missing.astype(np.int64),
        "nodes_modes": _tensor("nodes_modes", trees.modes),
        "nodes_splits": reals("nodes_splits", trees.splits),
        "nodes_trueleafs": (trees.true_next < 0).astype(np.int64),
        "nodes_truenodeids": branch(trees.true_next),
        "tree_roots": trees.roots,
    }


def _regressor(e: Emission, op: TreeEnsemble, trees: Trees, dtype: DType) -> None:
    """TreeEnsembleRegressor gives f32 only: enough for narrow types, and for f64 where that is all that is used."""
    double = dtype is DType.F64
    users = [node for node, _ in e.node.outputs[0].uses]
    if double and e.graph.version(ML_DOMAIN) < _DOUBLES:
        raise NotExpressible("trees in f64 exist from opset 16 on")
    if double and not all(isinstance(u.op, Cast) and u.op.to is DType.F32 for u in users):
        raise NotExpressible("trees that give f64 exist from opset 21 on")
    attributes = (_node_attributes(_without_sets(trees), double) if e.graph.kept else {}) | {
        "n_targets": op.n_targets,
        "aggregate_function": op.aggregate.upper(),
    }
    x = e.x() if double else e.cast(e.x(), DType.F32)
    if dtype is DType.F32:
        e.result(_ML + "TreeEnsembleRegressor", x, **attributes)
        return
    single = e.y.with_dtype(DType.F32)
    e.result("Cast", e.op(_ML + "TreeEnsembleRegressor", x, type=single, **attributes), to=dtype)


def _without_sets(trees: Trees) -> Trees:
    """A node that asks for membership becomes one for each member, that asks for equality."""
    asking = np.flatnonzero(trees.modes == MEMBER)
    if not asking.size or trees.members is None:
        return trees
    ends = np.flatnonzero(np.isnan(trees.members)).tolist()
    modes, false_next = trees.modes.tolist(), trees.false_next.tolist()
    copied, splits = list(range(len(modes))), trees.splits.tolist()
    start = 0
    for node, end in zip(asking.tolist(), [*ends, len(trees.members)], strict=False):
        first, *others = trees.members[start:end].tolist() or [np.nan]
        splits[node], modes[node], last, start = first, _EQUAL, node, end + 1
        for member in others:
            splits.append(member)
            modes.append(_EQUAL)
            copied.append(node)
            false_next.append(false_next[last])
            false_next[last] = len(modes) - 1
            last = len(modes) - 1
    return attrs.evolve(
        trees,
        features=trees.features[copied],
        modes=np.array(modes, np.uint8),
        splits=np.array(splits, trees.splits.dtype),
        true_next=trees.true_next[copied],
        false_next=np.array(false_next, np.int64),
        missing=None if trees.missing is None else trees.missing[copied],
        members=None,
    )


def _node_attributes(trees: Trees, double: bool) -> dict[str, Any]:
    """Nodes and leaves of one tree after the other, numbered from 0 within the tree, a node before those below it."""
    order, numbers, tree = _in_trees(trees)
    inner = order >= 0
    node, leaf = order[inner], ~order[~inner]

    def of_nodes(values: Array, of_leaves: int = 0) -> Array:
        result = np.full(len(order), of_leaves, values.dtype)
        result[inner] = values[node]
        return result

    votes = np.diff(trees.starts)[leaf]
    owner = np.repeat(np.flatnonzero(~inner), votes)
    vote = np.arange(len(owner)) + np.repeat(trees.starts[leaf] - np.cumsum(votes) + votes, votes)
    weights, splits = trees.weights[vote], of_nodes(trees.splits)
    return {
        "nodes_treeids": tree,
        "nodes_nodeids": numbers[0],
        "nodes_truenodeids": numbers[1],
        "nodes_falsenodeids": numbers[2],
        "nodes_featureids": of_nodes(trees.features),
        "nodes_modes": _MODE_NAMES[of_nodes(trees.modes, len(_BRANCHES))],
        "nodes_missing_value_tracks_true": None if trees.missing is None else of_nodes(trees.missing).astype(np.int64),
        "target_treeids": tree[owner],
        "target_nodeids": numbers[0][owner],
        "target_ids": trees.targets[vote],
        **({"nodes_values_as_tensor": _tensor("nodes_values", splits)} if double else {"nodes_values": splits}),
        **({"target_weights_as_tensor": _tensor("weights", weights)} if double else {"target_weights": weights}),
    }


def _in_trees(trees: Trees) -> tuple[Array, Array, Array]:
    """The node (or ~leaf) at every place, its own number with those of its branches, and its tree.

    All trees go down one level at a time. What several branches of a tree lead to is met as often, and listed where it
    is met first.
    """
    leaves, count = len(trees.starts) - 1, 0
    leading = np.concatenate([trees.true_next, trees.false_next, trees.roots]) + leaves
    shared = np.bincount(leading, minlength=leaves + len(trees.modes)) > 1
    firsts: dict[tuple[int, int], int] = {}
    levels: list[tuple[Array, Array, Array, Array]] = []
    tree, place = np.arange(len(trees.roots)), trees.roots
    while len(place) or not levels:
        met = count + np.arange(len(place))
        first = met.copy()
        for i in np.flatnonzero(shared[place + leaves]).tolist():
            first[i] = firsts.setdefault((int(tree[i]), int(place[i])), count + i)
        count += len(place)
        inner = np.flatnonzero((first == met) & (place >= 0))
        below = np.zeros(len(place), np.int64)
        below[inner] = count + 2 * np.arange(len(inner))
        levels.append((tree, place, first, below))
        node, tree = place[inner], np.repeat(tree[inner], 2)
        place = np.stack([trees.true_next[node], trees.false_next[node]], 1).reshape(-1)
    tree, place, first, below = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    listed = np.flatnonzero(first == np.arange(count))
    listed = listed[np.argsort(tree[listed], kind="stable")]
    order, owner = place[listed], tree[listed]
    sizes = np.bincount(owner, minlength=len(trees.roots))
    number = np.zeros(count, np.int64)
    number[listed] = np.arange(len(listed)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    branches = [np.where(order >= 0, number[first[below[listed] + i]], 0) for i in (0, 1)]
    return order, np.stack([number[listed], *branches]), owner
