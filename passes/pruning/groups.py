"""Groups: channels that the same layers make and read, so that any of them may go, and as many as one likes."""

from __future__ import annotations

import math
from collections import Counter

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node
from uair.passes.pruning.labels import Labelling

Signature = tuple[tuple[int, int], ...]


@attrs.frozen(eq=False)
class Group:
    """Interchangeable atoms.

    Attributes:
        producers: the layers that make these channels (several where they meet in a sum).
        counts: how many channels of each producer one atom is.
        extents: how many channels each producer makes in all.
        atoms: the standing atoms, [n].
    """

    producers: tuple[Node, ...]
    counts: tuple[int, ...]
    extents: tuple[int, ...]
    atoms: Array

    def allowed(self, multiple: int, least: int) -> list[int]:
        """How many atoms may go: what is left of every producer is a multiple, and no less than `least` channels."""
        n = len(self.atoms)
        steps = math.lcm(*(multiple // math.gcd(multiple, count) for count in self.counts))
        most = min(n - math.ceil(max(least, 1) / count) for count in self.counts)
        return [k for k in range(1, most + 1) if (n - k) % steps == 0]


def find_groups(labelling: Labelling) -> tuple[list[Group], dict[Node, str]]:
    """The groups in order of their first producer; and the producers none of whose channels may go, with the reason."""
    pinned = labelling.pinned_roots()
    seen: dict[int, Counter[int]] = {}
    for i, producer in enumerate(labelling.producers):
        for atom in producer.atoms.tolist():
            seen.setdefault(atom, Counter())[i] += 1
    by_signature: dict[Signature, list[int]] = {}
    for atom, counts in seen.items():
        if atom not in pinned:
            by_signature.setdefault(tuple(sorted(counts.items())), []).append(atom)
    groups: list[Group] = []
    covered: set[int] = set()
    for signature, atoms in by_signature.items():
        if len(atoms) < 2:
            continue
        makers = [labelling.producers[i] for i, _ in signature]
        covered.update(i for i, _ in signature)
        groups.append(
            Group(
                tuple(m.node for m in makers),
                tuple(count for _, count in signature),
                tuple(len(m.atoms) for m in makers),
                np.array(atoms, np.int64),
            )
        )
    whole = "all its channels go together: removing them would remove the layer"
    fixed = {
        producer.node: next((pinned[a] for a in producer.atoms.tolist() if a in pinned), whole)
        for i, producer in enumerate(labelling.producers)
        if i not in covered
    }
    return groups, fixed
