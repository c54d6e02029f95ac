"""Running an artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from uair.artifact import Artifact, ArtifactError
from uair.context import Context
from uair.driver.describe import interface_type
from uair.ir.graph import Graph


def run_artifact(artifact: Artifact, inputs: Any) -> dict[str, Any]:
    """Outputs by name of an artifact, run on the device where there is one, else in the reference interpreter."""
    target = Context.default().target(artifact.target)
    feeds = named(inputs, [entry["name"] for entry in artifact.manifest["inputs"]])
    feeds = _checked_feeds(artifact.manifest["inputs"], feeds)
    outputs: dict[str, Any] | None = target.run(artifact, feeds)
    if outputs is not None:
        return outputs
    from uair.codegen.reference import run as interpret
    from uair.text import load

    return interpret(load(artifact.file("model.uair")), feeds)


def _checked_feeds(entries: Sequence[Mapping[str, Any]], feeds: Mapping[str, Any]) -> dict[str, Any]:
    """The values as arrays; what an artifact's inputs do not take is refused in the same words for every runtime.

    Raises:
        MissingFeedError, UnknownFeedError, FeedTypeError, FeedShapeError: see there.
        ArtifactError: the manifest's own types cannot be read.
    """
    from uair.codegen.reference import check_feeds
    from uair.text import TextError, parse_type

    graph = Graph("artifact")
    for entry in entries:
        try:
            graph.add_input(entry["name"], parse_type(interface_type(entry)))
        except TextError as error:
            raise ArtifactError(f"the manifest's input {entry['name']!r} has no type: {error.message}") from None
    return check_feeds(graph, feeds)[0]


def named(inputs: Any, names: Sequence[str]) -> dict[str, Any]:
    """Inputs by name."""
    if isinstance(inputs, Mapping):
        return {str(k): v for k, v in inputs.items()}
    if inputs is None:
        return {}
    if len(names) != 1:
        from uair.errors import ShapeBindingError

        raise ShapeBindingError(f"the model has {len(names)} inputs ({', '.join(names)}): give arrays by name")
    return {names[0]: inputs}
