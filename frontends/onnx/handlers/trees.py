"""Ensembles of decision trees (ai.onnx.ml)."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from uair.frontends.onnx.handlers.classical import (
    CLASSIFIED,
    binary_scores,
    decided,
    labels_of,
    matrix,
    transform,
    transformed,
)
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ops import Add, Slice, TreeClassifier, TreeEnsemble
from uair.ops._trees import MEMBER, Trees

FAMILY = Family("ai.onnx.ml")
_BRANCHES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
_LEAF = "LEAF"
_AGGREGATES = {"AVERAGE": "average", "SUM": "sum", "MIN": "min", "MAX": "max"}


# ------------------------------------------------------------ the form of version 5
@FAMILY.op("TreeEnsemble", 5)
def _tree_ensemble(n: OnnxNode) -> Result:
    a, dtype = n.attributes, n[0].type.dtype
    aggregate = _numbered(n, "aggregate_function", 1, tuple(_AGGREGATES.values()))
    kind = _numbered(n, "post_transform", 0, ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"))
    ids = {name: _integers(n, name) for name in _SET_LISTS}
    missing = a.integer_array("nodes_missing_value_tracks_true") != 0
    trees = Trees(
        features=ids["nodes_featureids"],
        modes=_stored(n, "nodes_modes", DType.U8),
        splits=_stored(n, "nodes_splits", dtype),
        true_next=_next(n, ids["nodes_truenodeids"], ids["nodes_trueleafs"]),
        false_next=_next(n, ids["nodes_falsenodeids"], ids["nodes_falseleafs"]),
        roots=ids["tree_roots"],
        starts=np.arange(len(ids["leaf_targetids"]) + 1),
        targets=ids["leaf_targetids"],
        weights=_stored(n, "leaf_weights", dtype),
        missing=missing if missing.any() else None,
        members=_stored(n, "membership_values", dtype) if "membership_values" in a else None,
    )
    if (trees.modes != MEMBER).all():
        trees = attrs.evolve(trees, members=None)
    count = a.integer("n_targets", None)
    n_targets = int(trees.targets.max(initial=0)) + 1 if count is None else count
    scores = _applied(n, n[0], trees, n_targets, aggregate)
    return transformed(n, scores, kind)


_SET_LISTS = (
    "tree_roots",
    "nodes_featureids",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_trueleafs",
    "nodes_falseleafs",
    "leaf_targetids",
)


def _numbered(n: OnnxNode, name: str, default: int, choices: tuple[Any, ...]) -> Any:
    number = n.attributes.integer(name, default)
    if not 0 <= number < len(choices):
        n.refuse(f"{name} is {number}, expected 0 to {len(choices) - 1}")
    return choices[number]


def _integers(n: OnnxNode, name: str) -> Array:
    n.attributes.required(name)
    return n.attributes.integer_array(name)


def _stored(n: OnnxNode, name: str, dtype: DType | None = None) -> Array:
    """The list in an attribute that holds a tensor, of type `dtype` when one is given."""
    n.attributes.required(name)
    proto = n.attributes.tensor(name)
    assert proto is not None
    data = n.importer.reader.data(proto, n.place)
    if dtype is not None and data.dtype is not dtype:
        n.refuse(f"{name} must be {dtype}, is {data.dtype}")
    return data.array().reshape(-1)


def _next(n: OnnxNode, ids: Array, leaves: Array) -> Array:
    if len(ids) != len(leaves) or (ids < 0).any():
        n.refuse("the lists of branches and of which are leaves must be of one length, without negative numbers")
    return np.where(leaves != 0, ~ids, ids)


def _applied(n: OnnxNode, x: Tensor, trees: Trees, n_targets: int, aggregate: str) -> Tensor:
    """The canonical operator, if the trees are sound.

    Raises:
        OnnxAttributeError: they are not.
    """
    x = _checked(n, x, trees, n_targets)
    operands = map(_operand, attrs.astuple(trees, recurse=False))
    aggregates: Any = aggregate
    return n(TreeEnsemble(n_targets=n_targets, aggregate=aggregates), x, *operands)


def _operand(values: Array | None) -> Tensor | None:
    return None if values is None else constant(np.ascontiguousarray(values))


def _checked(n: OnnxNode, x: Tensor, trees: Trees, n_targets: int) -> Tensor:
    """The operand as a matrix, if the trees are sound.

    Raises:
        OnnxAttributeError: they are not.
    """
    lengths = {len(v) for v in (trees.features, trees.modes, trees.splits, trees.true_next, trees.false_next)}
    if trees.missing is not None:
        lengths.add(len(trees.missing))
    if len(lengths) > 1 or len(trees.targets) != len(trees.weights):
        n.refuse("its lists of nodes, or of leaves, differ in length")
    x = matrix(n, x)
    extent = n.extent(x, 1)
    flaw = trees.flaw(n_targets, extent if isinstance(extent, int) else None)
    if flaw:
        n.refuse(flaw)
    return x


# ---------------------------------------------------------- the form of versions 1 and 3
@attrs.frozen(eq=False)
class _Listed:
    """What a classifier and a regressor have in common.

    Attributes:
        trees: the ensemble.
        base: what is added to the totals, None for nothing.
        dtype: of the arithmetic.
    """

    trees: Trees
    base: Array | None
    dtype: DType


def _listed(n: OnnxNode, votes: str) -> _Listed:
    """The ensemble of a node whose attributes for votes begin with `votes`."""
    tensors = [name for name in n.attributes.names if name.endswith("_as_tensor")]
    double = n[0].type.dtype is DType.F64 or any(_stored(n, name).dtype == np.float64 for name in tensors)
    dtype = DType.F64 if double else DType.F32
    tree_ids, node_ids = _integers(n, "nodes_treeids"), _integers(n, "nodes_nodeids")
    modes = n.attributes.choice_array("nodes_modes", (*_BRANCHES, _LEAF))
    lists = {name: _integers(n, f"nodes_{name}") for name in ("featureids", "truenodeids", "falsenodeids")}
    splits = _reals(n, "nodes_values", dtype)
    missing = n.attributes.integer_array("nodes_missing_value_tracks_true") != 0
    parallel = (tree_ids, node_ids, modes, splits, *lists.values(), *((missing,) if missing.size else ()))
    if len({len(values) for values in parallel}) != 1:
        n.refuse("its lists of nodes differ in length")
    index = _Index(tree_ids, node_ids)
    if not index.distinct:
        n.refuse("a node of a tree is listed twice")
    inner = modes != len(_BRANCHES)
    number = np.where(inner, np.cumsum(inner) - 1, ~(np.cumsum(~inner) - 1))

    def follow(name: str) -> Array:
        found = index.find(tree_ids[inner], lists[name][inner])
        if (found < 0).any():
            n.refuse(f"a node of {name} is not listed")
        return number[found]

    _, first = np.unique(tree_ids, return_index=True)
    starts, targets, weights = _votes(n, votes, index, number, dtype)
    trees = Trees(
        features=lists["featureids"][inner],
        modes=modes[inner],
        splits=splits[inner],
        true_next=follow("truenodeids"),
        false_next=follow("falsenodeids"),
        roots=number[np.sort(first)],
        starts=starts,
        targets=targets,
        weights=weights,
        missing=missing[inner] if missing.any() else None,
        members=None,
    )
    base = _reals(n, "base_values", dtype)
    return _Listed(trees, base if base.size else None, dtype)


class _Index:
    """Where a node lies in the lists, by the numbers of its tree and of itself in the tree.

    Attributes:
        distinct: whether every node is listed once.
    """

    def __init__(self, tree_ids: Array, node_ids: Array) -> None:
        self._trees, self._nodes = np.unique(tree_ids), np.unique(node_ids)
        keys = self._keys(tree_ids, node_ids)
        self._order = None if (keys[1:] >= keys[:-1]).all() else np.argsort(keys, kind="stable")
        self._sorted = keys if self._order is None else keys[self._order]
        self.distinct = bool((self._sorted[1:] != self._sorted[:-1]).all())

    def _keys(self, tree_ids: Array, node_ids: Array) -> Array:
        """One number for each pair, -1 for those of which a part is not listed."""
        tree, node = _rank(self._trees, tree_ids), _rank(self._nodes, node_ids)
        return np.where((tree < 0) | (node < 0), -1, tree * len(self._nodes) + node)

    def find(self, tree_ids: Array, node_ids: Array) -> Array:
        """The places of nodes; -1 for those that are not listed."""
        keys = self._keys(tree_ids, node_ids)
        if not len(self._sorted):
            return np.full(len(keys), -1)
        place = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        found = place if self._order is None else self._order[place]
        return np.where(self._sorted[place] == keys, found, -1)


def _rank(distinct: Array, values: Array) -> Array:
    """The place of each value among sorted distinct ones; -1 for a value that is none of them."""
    if not len(distinct):
        return np.full(len(values), -1)
    if int(distinct[-1]) - int(distinct[0]) == len(distinct) - 1:  # without gaps, as most writers count
        return np.where((values < distinct[0]) | (values > distinct[-1]), -1, values - distinct[0])
    place = np.minimum(np.searchsorted(distinct, values), len(distinct) - 1)
    return np.where(distinct[place] == values, place, -1)


def _votes(n: OnnxNode, votes: str, index: _Index, number: Array, dtype: DType) -> tuple[Array, Array, Array]:
    """The votes of the leaves: where each leaf's begin, their targets and weights. Those of other nodes never count."""
    found = index.find(_integers(n, f"{votes}_treeids"), _integers(n, f"{votes}_nodeids"))
    targets, weights = _integers(n, f"{votes}_ids"), _reals(n, f"{votes}_weights", dtype)
    if not len(found) == len(targets) == len(weights):
        n.refuse("its lists of votes differ in length")
    if (found < 0).any():
        n.refuse("a vote is of a node that is not listed")
    owner = number[found]
    order = np.argsort(~owner, kind="stable")
    order = order[owner[order] < 0]
    leaves = int(np.count_nonzero(number < 0))
    starts = np.concatenate([[0], np.cumsum(np.bincount(~owner[order], minlength=leaves))]).astype(np.int64)
    return starts, targets[order], weights[order]


def _reals(n: OnnxNode, name: str, dtype: DType) -> Array:
    """A list of numbers, or the tensor that stands for it; empty when neither is given."""
    as_tensor = f"{name}_as_tensor"
    if as_tensor in n.attributes:
        return _stored(n, as_tensor).astype(dtype.numpy)
    return n.attributes.number_array(name).astype(dtype.numpy)


def _based(n: OnnxNode, scores: Tensor, base: Array | None, size: int) -> Tensor:
    if base is None:
        return scores
    if len(base) != size:
        n.refuse(f"there are {len(base)} base values for {size} scores")
    return n(Add(), scores, constant(base))


@FAMILY.op("TreeEnsembleRegressor", 1, 3)
def _regressor(n: OnnxNode) -> Result:
    found = _listed(n, "target")
    aggregate = n.attributes.choice("aggregate_function", "sum", _AGGREGATES)
    count = n.attributes.integer("n_targets", None)
    n_targets = int(found.trees.targets.max(initial=0)) + 1 if count is None else count
    scores = _applied(n, n.cast(n[0], found.dtype), found.trees, n_targets, aggregate)
    return transformed(n, n.cast(_based(n, scores, found.base, n_targets), DType.F32), transform(n))


@FAMILY.op("TreeEnsembleClassifier", 1, 3)
def _classifier(n: OnnxNode) -> Result:
    """Labels are decided before the transform, and before the scores become f32."""
    found, kind = _listed(n, "class"), transform(n)
    labels = labels_of(n, "classlabels_int64s", "classlabels_strings")
    count = len(labels.numpy())
    voted = np.unique(found.trees.targets)
    if len(voted) and not 0 <= int(voted[0]) <= int(voted[-1]) < count:
        n.refuse(f"a vote is for none of the {count} classes")
    x = n.cast(n[0], found.dtype)
    if count == 1:
        scores = _based(n, _applied(n, x, found.trees, 1, "sum"), found.base, 1)
        both = constant(np.array([0, 1])) if labels.type.dtype is DType.I64 else constant(np.repeat(labels.numpy(), 2))
        return decided(n, both, scores), transformed(n, n.cast(scores, DType.F32), kind)
    one = count == 2 and len(voted) == 1 and (found.base is None or len(found.base) == 1)
    return _classified(n, x, found, labels, int(voted[0]) if one else None, kind)


def _classified(n: OnnxNode, x: Tensor, found: _Listed, labels: Tensor, voted: int | None, kind: str) -> Result:
    """The canonical operator; `voted` is the one of two classes that all votes are for.

    Weights that are never negative make a probability, others a margin. A transform that it lacks follows it.
    """
    trees, base, classes = found.trees, found.base, len(labels.numpy())
    form: Any = "each"
    if voted is not None:
        trees = attrs.evolve(trees, targets=np.zeros_like(trees.targets))
        form = "probability" if bool((trees.weights >= 0).all()) else "margin"
    if base is not None and len(base) != (1 if voted is not None else classes):
        n.refuse(f"there are {len(base)} base values for {classes} scores")
    x = _checked(n, x, trees, classes if voted is None else 1)
    *lists, missing, members = map(_operand, attrs.astuple(trees, recurse=False))
    op = TreeClassifier(form=form, voted=1 if voted is None else voted, transform=CLASSIFIED.get(kind, "none"))
    label, scores = n.all(op, x, *lists, labels, _operand(base), missing, members)
    if kind == "SOFTMAX_ZERO" and form == "probability" and voted == 0:  # of the opposite, not of the complement
        second = n(Slice(axes=(1,), starts=(1,), ends=(2,), steps=(1,)), scores)
        return label, binary_scores(n, second, kind, opposite=False)
    return label, scores if kind in CLASSIFIED else transformed(n, scores, kind)
