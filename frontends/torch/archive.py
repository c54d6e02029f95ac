"""A `.pt2` file, as `torch.export.save` writes it, to the neutral program: without torch, and without running anything.

The file is a zip of JSON and raw bytes. Weights stay bytes of the file. Entries that are pickles (sample inputs, custom
objects) are never opened: `torch.export.load` unpickles them, which runs code of whoever made the file.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from uair.errors import UairError
from uair.frontends.common.errors import SourceFileError, UnsafeModelError
from uair.frontends.torch import naming
from uair.frontends.torch.container import SAVE_AGAIN, Container
from uair.frontends.torch.expressions import symbol_name
from uair.frontends.torch.program import Program
from uair.frontends.torch.serialized import GraphReader, Json, dtype_of, name_of, number, only
from uair.frontends.torch.symbols import Sizes
from uair.ir.data import ArrayData, ComputedData, Data, MappedData
from uair.ir.dtype import Array, DType

SCHEMA = 8
"""The major version of PyTorch's schema that is read: that of torch 2.7 and later."""
MAX_EXPANDED = 1 << 30
"""Bytes of a tensor that is stored with fewer: one that repeats its elements by strides of 0."""
OLD = "serialized_exported_program.json"
"""The entry by which a file of torch 2.6 or earlier is known."""


def read(path: Path) -> Program:
    """The program in a `.pt2` file.

    Args:
        path: of the file. It stays mapped as long as the program's weights are in use.

    Raises:
        SourceFileError: it is damaged, of another format, or of a version that is not known.
        UnsafeModelError: a weight can only be had by running code that the file carries.
        SourceOperatorError: it holds a type or a size that the IR has not.
    """
    container = Container(path)
    try:
        return _Archive(container).program()
    except UairError as error:
        error.place = error.place or str(path)
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        StopIteration,
        TypeError,
        ValueError,
    ) as error:
        # every field of the file may be missing or of any type
        raise SourceFileError(
            f"{path.name} contradicts itself or the format: {type(error).__name__}: {str(error)[:200]}",
            place=str(path),
            hint=SAVE_AGAIN,
        ) from None


@attrs.define(eq=False)
class _Archive:
    """A file being read."""

    container: Container
    shared: dict[Any, Data] = attrs.Factory(dict)

    def program(self) -> Program:
        """The program."""
        name = self.model()
        content = self.container.json(f"models/{name}.json")
        self.check_version(content)
        module, sizes = content["graph_module"], Sizes()
        signature, graph = module["signature"], module["graph"]
        placeholders = [name_of(spec["user_input"]["arg"]) for spec in signature["input_specs"] if "user_input" in spec]
        structure = module["module_call_graph"][0]["signature"]
        input_names = naming.input_names(
            naming.paths_of(structure["in_spec"]),
            structure.get("forward_arg_names") or (),
            [each for each in placeholders if each],
        )
        for placeholder, shown in input_names.items():
            for axis, size in enumerate(graph["tensor_values"].get(placeholder, {}).get("sizes", ())):
                own = symbol_name(size["as_expr"]["expr_str"]) if "as_expr" in size else None
                if own is not None:
                    sizes.call(own, f"{shown}.{axis}")
        mutations = dict(_mutations(signature))
        count = len(signature["output_specs"]) - len(mutations)
        version = content["schema_version"]
        return Program(
            graph=GraphReader(sizes).read(graph),
            constants=dict(self.constants(name, signature)),
            input_names=input_names,
            output_names=naming.output_names(naming.paths_of(structure["out_spec"]), count),
            mutations=mutations,
            ranges={
                sizes.name(own): _range(value)
                for own, value in content["range_constraints"].items()
                if own.isidentifier()  # a derived size has no range of its own
            },
            producer=f"pytorch {content['torch_version']}",
            versions=(
                ("torch", str(content["torch_version"])),
                ("schema", f"{version['major']}.{version['minor']}"),
            ),
        )

    def model(self) -> str:
        """The name of the model in the file.

        Raises:
            SourceFileError: there is none, or there are several.
        """
        names = self.container.names
        if OLD in names:
            raise SourceFileError(
                f"{self.container.path.name} was saved by torch 2.6 or earlier, which keeps the weights in a pickle",
                hint="load it with that torch, from a source you trust, and save it again with torch 2.7 or later",
            )
        models = [n.removeprefix("models/").removesuffix(".json") for n in names if n.startswith("models/")]
        if len(models) == 1 or "model" in models:
            return "model" if "model" in models else models[0]
        what = f"holds the models {', '.join(sorted(models)[:8])}" if models else "holds no exported program"
        raise SourceFileError(
            f"{self.container.path.name} {what}",
            hint="save one program with torch.export.save(ep, 'model.pt2'); what AOTInductor compiles has no graph",
        )

    def check_version(self, content: Json) -> None:
        """Refuse a schema that is not known.

        Raises:
            SourceFileError: it is not.
        """
        major = content["schema_version"]["major"]
        if major != SCHEMA:
            raise SourceFileError(
                f"{self.container.path.name} has schema {major}.{content['schema_version']['minor']} "
                f"(torch {content.get('torch_version')}), known is {SCHEMA}",
                hint="save it again with a torch whose schema is known (2.7 to 2.13), or give the module itself",
            )

    # ------------------------------------------------------------------ weights
    def constants(self, model: str, signature: Json) -> Iterator[tuple[str, tuple[str, Data]]]:
        """Name and values of every lifted tensor, by its input of the graph."""
        stored = {
            **self.payloads(model, "weights", "weights"),
            **self.payloads(model, "constants", "constants"),
        }
        for spec in signature["input_specs"]:
            kind, value = only(spec)
            if kind in ("custom_obj", "token"):
                raise UnsafeModelError(
                    f"input {value['arg'].get('name')!r} of the program is no tensor but a {kind}, stored as a pickle",
                    hint="export a module whose weights are plain tensors",
                )
            field = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
            if kind not in field:
                continue
            own = value[field[kind]]
            if own not in stored:
                self.container.fail(f"lacks the values of {own!r}")
            folder, payload = stored[own]
            yield value["arg"]["name"], (own, self.values(own, folder, payload))

    def payloads(self, model: str, folder: str, what: str) -> dict[str, tuple[str, Json]]:
        """What a folder of the archive says of its tensors, by their names in the module."""
        name = f"data/{folder}/{model}_{what}_config.json"
        if name not in self.container.names:
            return {}
        return {own: (folder, payload) for own, payload in self.container.json(name)["config"].items()}

    def values(self, own: str, folder: str, payload: Json) -> Data:
        """The values of a tensor; those that share their bytes and shape are one object.

        Raises:
            UnsafeModelError: they are pickled.
            SourceFileError: its elements lie outside of its bytes.
        """
        if payload["use_pickle"]:
            raise UnsafeModelError(
                f"{own!r} is stored as a pickle, which runs code when it is read",
                hint="export a module whose parameters and buffers are plain tensors, not subclasses or custom objects",
            )
        meta = payload["tensor_meta"]
        dtype = dtype_of(meta["dtype"])
        sizes, strides = tuple(map(number, meta["sizes"])), tuple(map(number, meta["strides"]))
        offset = number(meta["storage_offset"])
        key = (folder, payload["path_name"], dtype, sizes, strides, offset)
        if key not in self.shared:
            start, length = self.container.span(f"data/{folder}/{payload['path_name']}")
            self.shared[key] = self.stored(own, (start, length), dtype, sizes, strides, offset)
        return self.shared[key]

    def stored(
        self,
        own: str,
        span: tuple[int, int],
        dtype: DType,
        sizes: tuple[int, ...],
        strides: tuple[int, ...],
        offset: int,
    ) -> Data:
        """Elements of the bytes at `span`; strides and offset count elements."""
        if len(sizes) != len(strides) or math.prod(sizes) * dtype.bits // 8 > max(span[1], MAX_EXPANDED):
            self.container.fail(f"gives {own!r} the shape {sizes} with the strides {strides}")
        if 0 in sizes:
            return ArrayData(np.empty(sizes, dtype.numpy), dtype)
        width = dtype.bits // 8
        last = offset + sum((d - 1) * s for d, s in zip(sizes, strides, strict=True))
        if (last + 1) * width > span[1]:
            self.container.fail(f"stores {span[1]} bytes for {own!r}, whose last element is number {last}")
        if all(d == 1 or s == math.prod(sizes[i + 1 :]) for i, (d, s) in enumerate(zip(sizes, strides, strict=True))):
            return MappedData(self.container.file, span[0] + offset * width, dtype, sizes)
        run = MappedData(self.container.file, span[0] + offset * width, dtype, (last - offset + 1,))
        return ComputedData(functools.partial(_strided, sizes=sizes, strides=strides), (run,), dtype, sizes)


def _strided(flat: Array, sizes: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """The elements of a row at their strides; the caller has made sure that all lie in it."""
    steps = tuple(s * flat.itemsize for s in strides)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, sizes, steps, writeable=False))


def _mutations(signature: Json) -> Iterator[tuple[int, str]]:
    """What the outputs that are no results change, by position."""
    for i, spec in enumerate(signature["output_specs"]):
        kind, value = only(spec)
        if kind not in ("user_output", "loss_output"):
            names = [v for k, v in value.items() if k.endswith("_name")]
            yield i, str(names[0]) if names else ""


def _range(value: Mapping[str, Any]) -> tuple[int, int | None]:
    low, high = value.get("min_val"), value.get("max_val")
    return low or 0, high
