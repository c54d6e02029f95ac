"""Every version of every operator that onnx defines is imported: by a handler, or by onnx's own definition of it."""

from __future__ import annotations

from typing import Any

import onnx

from uair.frontends.onnx.functions import default_domain
from uair.frontends.onnx.table import handlers

OPEN: dict[tuple[str, str], tuple[int, ...]] = {
    ("ai.onnx.ml", "TreeEnsembleClassifier"): (5,),
    ("ai.onnx.ml", "TreeEnsembleRegressor"): (5,),
}
"""(domain, operator): versions that nothing imports yet."""


def expandable(schema: Any) -> bool:
    """Whether the importer finds a definition in other operators at the first operator set of this version."""
    versions = schema.function_opset_versions if schema.has_function else []
    if schema.has_context_dependent_function:
        versions = [*versions, *schema.context_dependent_function_opset_versions]
    return not default_domain(schema.domain) and any(v <= schema.since_version for v in versions)


def test_every_version_of_every_operator_is_imported() -> None:
    known = handlers()
    found: dict[tuple[str, str], list[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        key = default_domain(schema.domain), schema.name
        if (*key, schema.since_version) not in known and not expandable(schema):
            found.setdefault(key, []).append(schema.since_version)
    assert {key: tuple(sorted(versions)) for key, versions in found.items()} == OPEN


def test_handlers_are_for_versions_that_exist() -> None:
    """A handler of ONNX's own domains names versions in which the operator changed."""
    schemas = onnx.defs.get_all_schemas_with_history()
    defined = {(default_domain(s.domain), s.name, s.since_version) for s in schemas}
    domains = {domain for domain, _, _ in defined}
    own = {("", "LayerNormalization", 1), ("", "SimplifiedLayerNormalization", 1)}  # onnxruntime's, in ONNX's domain
    assert {key for key in handlers() if key[0] in domains and key not in defined} == own
