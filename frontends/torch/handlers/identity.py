"""What changes nothing: copies, aliases, assertions, and dropout in a module that is not trained."""

from __future__ import annotations

from uair.frontends.torch.node import Family, Result, TorchNode
from uair.ir.graph import Tensor

FAMILY = Family()


@FAMILY.op(
    "aten.alias",
    "aten.clone",
    "aten.contiguous",
    "aten.detach",
    "aten.detach_",
    "aten.lift",
    "aten.lift_fresh",
    "aten.lift_fresh_copy",
    "aten.requires_grad",
    "aten.resolve_conj",
    "aten.resolve_neg",
    "aten.positive",
    "aten.alias_copy",
    "aten.detach_copy",
)
def _same(node: TorchNode) -> Tensor:
    return node.tensor("a") if "a" in node.values else node.tensor("self")


@FAMILY.op(
    "aten._assert_async",
    "aten._assert_scalar",
    "aten._assert_tensor_metadata",
    "aten.sym_constrain_range",
    "aten.sym_constrain_range_for_size",
    "aten._functional_assert_async",
    "aten._functional_assert_scalar",
    "aten._functional_sym_constrain_range",
)
def _nothing(node: TorchNode) -> Result:
    return ()


@FAMILY.op("aten.dropout", "aten.feature_dropout", "aten.alpha_dropout", "aten.feature_alpha_dropout")
def _dropout(node: TorchNode) -> Tensor:
    if node.get("train") and node.get("p"):
        node.refuse("dropout of a module in training mode changes the result at random", "call module.eval() first")
    return node.tensor("input" if "input" in node.values else "self")  # `dropout_` calls it self


@FAMILY.op("aten.native_dropout")
def _native_dropout(node: TorchNode) -> Result:
    if node.get("train") and node.get("p"):
        node.refuse("dropout of a module in training mode changes the result at random", "call module.eval() first")
    if node.wants(1):
        node.refuse("the mask of dropout is used")
    return node.tensor("input"), None
