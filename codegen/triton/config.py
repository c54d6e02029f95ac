"""config.pbtxt: a model's interface and scheduling, in protobuf's text form.

Source: Triton's model_config.proto and its documents of the model repository.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import attrs

from uair.errors import UairError
from uair.ir.dtype import DType

DATA_TYPES: Mapping[DType, str] = {
    DType.BOOL: "TYPE_BOOL",
    DType.U8: "TYPE_UINT8",
    DType.U16: "TYPE_UINT16",
    DType.U32: "TYPE_UINT32",
    DType.U64: "TYPE_UINT64",
    DType.I8: "TYPE_INT8",
    DType.I16: "TYPE_INT16",
    DType.I32: "TYPE_INT32",
    DType.I64: "TYPE_INT64",
    DType.F16: "TYPE_FP16",
    DType.F32: "TYPE_FP32",
    DType.F64: "TYPE_FP64",
    DType.BF16: "TYPE_BF16",
    DType.STRING: "TYPE_STRING",
}
NOT_IN_PLANS = (DType.I16, DType.U16, DType.U32, DType.U64, DType.F64, DType.STRING)
"""What a TensorRT engine has no inputs or outputs of."""


class TritonError(UairError):
    """A model cannot be described to Triton."""

    code = "UAIR-E0581"
    title = "Model does not fit Triton"


@attrs.frozen
class Port:
    """An input or output.

    Attributes:
        name: as in the model file.
        dtype: element type.
        shape: extents; None for one that differs from request to request.
    """

    name: str
    dtype: DType
    shape: tuple[int | None, ...]

    def text(self) -> str:
        """The entry of the list `input` or `output`.

        Raises:
            TritonError: Triton has no such element type.
        """
        kind = DATA_TYPES.get(self.dtype)
        if kind is None:
            raise TritonError(f"{self.name!r} is {self.dtype}, which Triton does not transport", hint="cast it to f32")
        dims = ", ".join("-1" if extent is None else str(extent) for extent in self.shape)
        return f"  {{\n    name: {quoted(self.name)}\n    data_type: {kind}\n    dims: [ {dims} ]\n  }}"


@attrs.frozen
class Instance:
    """Where instances of the model run.

    Attributes:
        kind: on CPUs, on GPUs, or on GPUs where the server has any.
        count: how many of them.
    """

    kind: Literal["KIND_CPU", "KIND_GPU", "KIND_AUTO"]
    count: int = 1


@attrs.frozen
class ModelConfig:
    """A config.pbtxt.

    Attributes:
        name: of the model, which is that of its folder.
        engine: `platform: "tensorrt_plan"` or `backend: "python"`, as the pair of key and value.
        inputs: in the model's order, with the batch axis.
        outputs: likewise.
        instance: where it runs.
        file: name of the model file, when it is not the engine's default.
        parameters: text by name, for the Python backend.
        capability: compute capability of the GPU that a plan was built for ("8.7"), with its file.
    """

    name: str
    engine: tuple[Literal["platform", "backend"], str]
    inputs: Sequence[Port]
    outputs: Sequence[Port]
    instance: Instance
    file: str = ""
    parameters: Mapping[str, str] = attrs.field(factory=dict[str, str])
    capability: str = ""

    def text(self) -> str:
        """The file. max_batch_size 0 says that the shapes are complete.

        Raises:
            TritonError: an input or output cannot be described.
        """
        return "\n".join([*self._lines(), ""])

    def _lines(self) -> Iterator[str]:
        yield f"name: {quoted(self.name)}"
        yield f"{self.engine[0]}: {quoted(self.engine[1])}"
        yield "max_batch_size: 0"
        if self.file:
            yield f"default_model_filename: {quoted(self.file)}"
        if self.capability and self.file:
            pair = f"    key: {quoted(self.capability)}\n    value: {quoted(self.file)}"
            yield f"cc_model_filenames [\n  {{\n{pair}\n  }}\n]"
        for key, ports in (("input", self.inputs), ("output", self.outputs)):
            yield f"{key} [\n" + ",\n".join(port.text() for port in ports) + "\n]"
        gpus = "\n    gpus: [ 0 ]" if self.instance.kind == "KIND_GPU" else ""
        yield f"instance_group [\n  {{\n    count: {self.instance.count}\n    kind: {self.instance.kind}{gpus}\n  }}\n]"
        for key, value in self.parameters.items():
            yield f"parameters {{\n  key: {quoted(key)}\n  value: {{ string_value: {quoted(value)} }}\n}}"
        yield "version_policy: { latest: { num_versions: 1 } }"


def quoted(text: str) -> str:
    """A string of protobuf's text form: that of JSON, whose escapes it knows, with bytes beyond ASCII as they are."""
    return json.dumps(text, ensure_ascii=False)
