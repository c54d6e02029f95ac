"""Comparing two models of one origin, layer by layer: what changed in the graph, and how far the values are apart."""

from __future__ import annotations

from uair.driver.difference.errors import NotComparable
from uair.driver.difference.inputs import common_types, random_inputs
from uair.driver.difference.layers import Layer, LayerErrors, compare_layers
from uair.driver.difference.pairing import Pair, Pairing, label, pair_graphs
from uair.driver.difference.placed import without_placement
from uair.driver.difference.structure import Changes, compare_structure

__all__ = [
    "Changes",
    "Layer",
    "LayerErrors",
    "NotComparable",
    "Pair",
    "Pairing",
    "common_types",
    "compare_layers",
    "compare_structure",
    "label",
    "pair_graphs",
    "random_inputs",
    "without_placement",
]
