"""Decision trees in arrays: whether they are sound, which leaf a row comes to, and what the leaves add up to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array

MODES = ("leq", "lt", "gte", "gt", "eq", "neq", "member")
"""What a node asks of its feature, by number: against its split, or whether it is in its set."""
MEMBER = MODES.index("member")
_COMPARE: tuple[Callable[[Any, Any], Any], ...] = (
    np.less_equal,
    np.less,
    np.greater_equal,
    np.greater,
    np.equal,
    np.not_equal,
)
_AT_ONCE = 1 << 20
"""Pairs of a row and a tree that are evaluated together; bounds the memory."""
_REDUCE: dict[str, tuple[Any, float]] = {
    "sum": (np.add, 0.0),
    "average": (np.add, 0.0),
    "min": (np.minimum, np.inf),
    "max": (np.maximum, -np.inf),
}


@attrs.frozen(eq=False)
class Trees:
    """An ensemble; see the operator TreeEnsemble for the fields."""

    features: Array
    modes: Array
    splits: Array
    true_next: Array
    false_next: Array
    roots: Array
    starts: Array
    targets: Array
    weights: Array
    missing: Array | None
    members: Array | None

    def flaw(self, n_targets: int, n_features: int | None = None) -> str:
        """What is wrong with the numbers, in words; empty when nothing is."""
        nodes, leaves = len(self.modes), len(self.starts) - 1
        if any(_outside(following, -leaves, nodes) for following in (self.true_next, self.false_next, self.roots)):
            return f"a branch or root leads to none of the {nodes} nodes and {leaves} leaves"
        if _outside(self.modes, 0, len(MODES)):
            return f"a mode is none of 0 to {len(MODES) - 1}"
        if _outside(self.features, 0, n_features):
            return f"a node asks for a feature that there is not: there are {n_features}"
        if _outside(self.targets, 0, n_targets):
            return f"a vote is for none of the {n_targets} targets"
        if (
            leaves < 0
            or (np.diff(self.starts) < 0).any()
            or self.starts[0] != 0
            or self.starts[-1] != len(self.targets)
        ):
            return "the votes are not divided among the leaves"
        sets, wanted = self._set_count(), int(np.count_nonzero(self.modes == MEMBER))
        if sets < wanted:
            return f"{wanted} nodes ask for membership, there are {sets} sets"
        return "a branch leads back to a node above it" if self._cyclic() else ""

    def _set_count(self) -> int:
        """Sets end with NaN; after the last one it may be left out."""
        if self.members is None or not len(self.members):
            return 0
        ends = np.isnan(self.members)
        return int(ends.sum()) + (not ends[-1])

    def _cyclic(self) -> bool:
        order = np.arange(len(self.modes))
        if not (
            ((self.true_next >= 0) & (self.true_next <= order)) | ((self.false_next >= 0) & (self.false_next <= order))
        ).any():
            return False  # as most writers number them: every node before those below it
        below = list(zip(self.true_next.tolist(), self.false_next.tolist(), strict=True))
        above = [0] * len(below)
        for branches in below:
            for node in branches:
                if node >= 0:
                    above[node] += 1
        ready = [node for node, count in enumerate(above) if not count]
        done = 0
        while ready:
            done += 1
            for node in below[ready.pop()]:
                if node >= 0:
                    above[node] -= 1
                    if not above[node]:
                        ready.append(node)
        return done < len(below)

    def totals(self, x: Array, n_targets: int, aggregate: str) -> Array:
        """What the leaves of each row of x [N, F] add up to, [N, n_targets], in x's type."""
        rows = max(1, _AT_ONCE // max(1, len(self.roots)))
        sets = self._sets()
        parts = [
            self._combine(self._leaves(x[i : i + rows], sets), n_targets, aggregate, x.dtype)
            for i in range(0, len(x), rows)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, n_targets), x.dtype)

    def _leaves(self, x: Array, sets: tuple[Array, Array, Array]) -> Array:
        """The leaf of every row in every tree, [N, T]; all rows go down one level at a time."""
        place = np.tile(self.roots, len(x))
        row = np.repeat(np.arange(len(x)), len(self.roots))
        inside = np.flatnonzero(place >= 0)
        modes = np.unique(self.modes)
        while inside.size:
            node = place[inside]
            value = x[row[inside], self.features[node]]
            yes = np.zeros(len(node), np.bool_)
            for mode in modes.tolist():
                asked = slice(None) if len(modes) == 1 else np.flatnonzero(self.modes[node] == mode)
                yes[asked] = self._answer(mode, node[asked], value[asked], sets)
            if self.missing is not None:
                yes |= self.missing[node] & np.isnan(value)
            place[inside] = np.where(yes, self.true_next[node], self.false_next[node])
            inside = inside[place[inside] >= 0]
        return ~place.reshape(len(x), len(self.roots))

    def _answer(self, mode: int, node: Array, value: Array, sets: tuple[Array, Array, Array]) -> Array:
        if mode != MEMBER:
            return np.asarray(_COMPARE[mode](value, self.splits[node]))
        number, distinct, pairs = sets
        if not len(pairs):
            return np.zeros(len(node), np.bool_)
        place = np.minimum(np.searchsorted(distinct, value), len(distinct) - 1)
        pair = number[node] * len(distinct) + place
        found = np.minimum(np.searchsorted(pairs, pair), len(pairs) - 1)
        return np.asarray((distinct[place] == value) & (pairs[found] == pair))

    def _sets(self) -> tuple[Array, Array, Array]:
        """Each node's set, the distinct members of all, and the pairs (set, place of a member), sorted."""
        number = np.cumsum(self.modes == MEMBER) - 1
        members = np.zeros(0, self.splits.dtype) if self.members is None else self.members
        ends = np.isnan(members)
        owner = (np.cumsum(ends) - ends)[~ends]
        distinct, place = np.unique(members[~ends], return_inverse=True)
        return number, distinct, np.unique(owner * len(distinct) + place)

    def _combine(self, leaves: Array, n_targets: int, aggregate: str, dtype: Any) -> Array:
        """Leaf by leaf in the order of the trees, as a sum in a loop has it."""
        combine, start = _REDUCE[aggregate]
        counts = self.starts[leaves + 1] - self.starts[leaves]
        row = np.repeat(np.arange(len(leaves)), counts.sum(axis=1))
        flat = counts.reshape(-1)
        vote = np.arange(len(row)) + np.repeat(self.starts[leaves].reshape(-1) - np.cumsum(flat) + flat, flat)
        result = np.full((len(leaves), n_targets), start, dtype)
        combine.at(result, (row, self.targets[vote]), self.weights[vote])
        if aggregate == "average":
            result /= np.asarray(max(1, len(self.roots)), dtype)
        if aggregate in ("min", "max"):
            voted = np.zeros(result.shape, np.bool_)
            voted[row, self.targets[vote]] = True
            result[~voted] = 0
        return result


def _outside(values: Array, least: int, end: int | None) -> bool:
    return bool(values.size) and (int(values.min()) < least or (end is not None and int(values.max()) >= end))
