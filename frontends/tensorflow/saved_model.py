"""From a SavedModel's folder to a program, without TensorFlow.

Only `saved_model.pb` and `variables/` are read; what the folder holds otherwise (assets, Keras metadata) is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from uair.frontends.common.errors import SourceFileError
from uair.frontends.tensorflow.bundle import Bundle, mapped
from uair.frontends.tensorflow.errors import SignatureError
from uair.frontends.tensorflow.graphdef import GraphDef, Ref
from uair.frontends.tensorflow.opaque import operators_of
from uair.frontends.tensorflow.program import Input, Program
from uair.frontends.tensorflow.tensors import dtype_name, shape_of
from uair.frontends.tensorflow.variables import Variables
from uair.frontends.tensorflow.wire import Message, Source

FILE = "saved_model.pb"
SERVE = "serve"
DEFAULT = "serving_default"
_INIT = "__saved_model_init_op"
_SHOWN = 12


def read(folder: Path, *, signature: str | None = None, tags: Sequence[str] = (SERVE,)) -> tuple[Program, Source]:
    """Read a SavedModel.

    Args:
        folder: the model's folder.
        signature: name of the signature; the one called serving_default, or the only one, when not given.
        tags: of the graph to take, where the model has several.

    Returns:
        the program, and the bytes of its graph.

    Raises:
        SourceFileError: a file is missing or damaged.
        SignatureError: there is no signature, or not that one.
    """
    file = mapped(folder / FILE, folder)
    source = Source(file.view(0, file.size), FILE, file)
    meta = _tagged(source, tags)
    graph = GraphDef(meta.message(2))
    name, chosen = _signature(meta, signature, folder)
    prefix = folder / "variables" / "variables"
    bundle = Bundle.open(prefix, folder) if prefix.with_name("variables.index").exists() else None
    info = meta.message(1)
    version = info.text(5)
    program = Program(
        folder.resolve().name or "model",
        graph,
        _inputs(chosen, graph),
        _outputs(chosen),
        Variables(graph, bundle),
        producer=f"tensorflow {version}".strip(),
        versions=(("tensorflow", version), ("graph", str(graph.producer)), ("signature", name)),
        operators=operators_of(info.message(2)),
    )
    return program, source


def _tagged(source: Source, tags: Sequence[str]) -> Message:
    metas = source.message.messages(2)
    if not metas:
        source.fail("the file is no SavedModel: it holds no graph", 0)
    found = [meta for meta in metas if set(tags) <= set(meta.message(1).texts(4))]
    if found:
        return found[0]
    if len(metas) == 1:
        return metas[0]
    known = "; ".join(", ".join(meta.message(1).texts(4)) for meta in metas)
    raise SignatureError(
        f"no graph of the model has the tags {', '.join(tags)}",
        place=source.name,
        hint=f"tags=: the graphs have {known}",
    )


def _signature(meta: Message, wanted: str | None, folder: Path) -> tuple[str, Message]:
    signatures = {n: s for n, s in meta.entries(5).items() if n != _INIT}
    usable = {n: s for n, s in signatures.items() if s.has(2)}
    if wanted is not None:
        if wanted in usable:
            return wanted, usable[wanted]
        raise SignatureError(
            f"the model has no signature {wanted!r}",
            place=folder.name,
            hint=f"its signatures are {', '.join(sorted(usable)) or 'none'}",
        )
    if DEFAULT in usable:
        return DEFAULT, usable[DEFAULT]
    if len(usable) == 1:
        return next(iter(usable.items()))
    if usable:
        raise SignatureError(
            f"the model has {len(usable)} signatures, and none is called {DEFAULT}",
            place=folder.name,
            hint=f"name one with signature=: {', '.join(sorted(usable))}",
        )
    functions = list(meta.message(7).entries(2))
    shown = ", ".join(_plain(f) for f in functions[:_SHOWN]) + (", ..." if len(functions) > _SHOWN else "")
    raise SignatureError(
        f"the model has no signatures; it has the functions {shown}" if functions else "the model has no signatures",
        place=folder.name,
        hint="save it with tf.saved_model.save(model, path, signatures=model.call.get_concrete_function("
        "tf.TensorSpec([None, 224, 224, 3]))), or from Keras with model.export(path)",
    )


def _plain(function: str) -> str:
    """`__inference_call_123` as the user wrote it: `call`."""
    text = function.removeprefix("__inference_")
    head, _, number = text.rpartition("_")
    return head if head and number.isdigit() else text


def _inputs(signature: Message, graph: GraphDef) -> tuple[Input, ...]:
    """The inputs in the order of their placeholders in the graph."""
    places = {node.name: i for i, node in enumerate(graph.body.order)}
    inputs = [
        Input(name, _ref(info, f"input {name!r}"), dtype_name(info.integer(2)), shape_of(info.message(3)))
        for name, info in signature.entries(1).items()
    ]
    return tuple(sorted(inputs, key=lambda i: (places.get(i.ref.name, len(places)), i.name)))


def _outputs(signature: Message) -> tuple[tuple[str, Ref], ...]:
    infos: Mapping[str, Message] = signature.entries(2)
    found = [(name, _ref(info, f"output {name!r}")) for name, info in infos.items()]
    return tuple(sorted(found, key=lambda entry: (entry[1].name, entry[1].index, entry[0])))


def _ref(info: Message, what: str) -> Ref:
    """The tensor that an entry of a signature names."""
    name = info.text(1)
    if not name:
        kind = "sparse" if info.has(4) else "composite"
        raise SourceFileError(
            f"{what} is a {kind} tensor, which is not supported", hint="save a signature with dense tensors"
        )
    return Ref.parse(name, False)
