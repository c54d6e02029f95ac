"""From a folder, a file or an object to a module."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uair.errors import UairError
from uair.frontends.common.errors import SourceFileError
from uair.frontends.common.layout import Channels, settle
from uair.frontends.tensorflow import frozen, saved_model
from uair.frontends.tensorflow.importer import Importer, Told
from uair.frontends.tensorflow.program import Program
from uair.frontends.tensorflow.wire import Source
from uair.ir.module import Module, Origin
from uair.passes.eliminate_dead_code import EliminateDeadCode
from uair.passes.fusion import activation, attention_products, products
from uair.passes.fusion.linear import LinearFromMatMulAdd
from uair.passes.fusion.normalization import RecognizeSpreadLayerNorm
from uair.passes.recurrent.recognize import RecognizeRecurrent
from uair.pipeline import PassContext
from uair.rewrite import RuleSet

_HASH_STEP = 1 << 22


def load(
    source: str | Path | Any,
    *examples: Any,
    signature: str | None = None,
    tags: Sequence[str] = (saved_model.SERVE,),
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
    unranked: Mapping[str, Sequence[int]] | None = None,
    channels: Channels = "last",
) -> Module:
    """Read a TensorFlow model.

    Args:
        source: the folder of a SavedModel, a frozen graph (`.pb`), or a tf.function, ConcreteFunction or tf.Module.
        examples: of an object, its inputs: tf.TensorSpec, tensors or arrays.
        signature: of a SavedModel; "serving_default", or the only one, when not given.
        tags: of the graph in a SavedModel that has several.
        inputs: names of a frozen graph's inputs; its placeholders when not given.
        outputs: names of a frozen graph's outputs; the results that nothing uses when not given.
        shapes: of inputs by name, where the model does not say them; None for an open extent.
        unranked: shapes of inputs by name that count where the model does not even say the rank; what else they name
            is left alone. The `--shape` of the command line, whose other shapes are bound when the model is read.
        channels: "last" keeps the model's own interface; "first" gives images as [N, C, H, W].

    Returns:
        The module. Weights are views of the mapped files, which must not be written to while it is used.

    Raises:
        UairError: the model cannot be read (UAIR-E0120 to E0125, E0140 to E0145).
    """
    if not isinstance(source, (str, Path)):
        from uair.frontends.tensorflow import live

        program, content = live.read(source, examples)
        return _imported(program, content, "", Told(shapes or {}, unranked or {}), channels)
    path = Path(source)
    name = path.name
    try:
        if path.is_dir() or name == saved_model.FILE:
            folder = path if path.is_dir() else path.parent
            name = folder.resolve().name
            program, content = saved_model.read(folder, signature=signature, tags=tags)
        else:
            if path.suffix == ".pbtxt":
                raise SourceFileError("graphs as text are not read", hint="save the graph in binary form (.pb)")
            program, content = frozen.read(path, inputs, outputs)
        return _imported(program, content, name, Told(shapes or {}, unranked or {}), channels)
    except UairError as error:
        if name and name not in error.place:
            error.place = f"{error.place} of {name}" if error.place else name
        raise


def _imported(program: Program, content: Source, name: str, told: Told, channels: Channels) -> Module:
    module = Importer(program, told).run()
    EliminateDeadCode().run(module, PassContext())
    PassContext().apply_rules(module, whole_operators())  # before their axes move
    RecognizeRecurrent().run(module, PassContext())
    settle(module, channels=channels)
    module.origin = Origin("tensorflow", name, functools.partial(_sha256, content), program.producer, program.versions)
    return module


@functools.cache
def whole_operators() -> RuleSet:
    """What Keras 3 spells out, as one operator each."""
    families = (activation, products, attention_products)
    rules = [rule() for family in families for rule in family.RULES]
    return RuleSet([*rules, RecognizeSpreadLayerNorm(), LinearFromMatMulAdd()])


def _sha256(content: Source) -> str:
    digest = hashlib.sha256()
    for at in range(0, len(content.buffer), _HASH_STEP):
        digest.update(content.buffer[at : at + _HASH_STEP])
    return digest.hexdigest()
