"""Model repositories: one folder per backend, each of which a server can be started with."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import attrs

from uair.artifact import ArtifactBuilder
from uair.codegen.triton.config import NOT_IN_PLANS, Instance, ModelConfig, Port, TritonError
from uair.ir.graph import Graph, Tensor

Backend: TypeAlias = Literal["tensorrt", "onnx", "python"]
BACKENDS: tuple[Backend, ...] = ("tensorrt", "onnx", "python")
FOLDER = "triton"
ENGINES: Mapping[Backend, tuple[Literal["platform", "backend"], str]] = {
    "tensorrt": ("platform", "tensorrt_plan"),
    "onnx": ("platform", "onnxruntime_onnx"),
    "python": ("backend", "python"),
}


@attrs.frozen
class Repository:
    """What repositories of one model have in common.

    Attributes:
        name: of the model; a folder is called so.
        inputs: as in the model file.
        outputs: as in the model file.
        kind: where instances run.
        capability: compute capability of the GPU that plans are built for; empty when that is not known.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    kind: Literal["KIND_CPU", "KIND_GPU"]
    capability: str = ""

    def write(self, artifact: ArtifactBuilder, backends: Sequence[Backend], model: str) -> dict[str, str]:
        """Write the repositories; for each its folder.

        Args:
            artifact: where to.
            backends: which.
            model: the artifact's ONNX file, which has no weights in files of their own.

        Raises:
            TritonError: an input or output is of a type that Triton does not transport.
        """
        folders: dict[str, str] = {}
        for backend in dict.fromkeys(backends):
            folder = folders[backend] = f"{FOLDER}/{backend}"
            root = f"{folder}/{self.name}"
            artifact.add_text(f"{root}/config.pbtxt", self.config(backend).text())
            if backend == "tensorrt":
                artifact.add_text(f"{root}/1/README", "The build script copies model.plan to this folder.\n")
                continue
            self._copy_model(artifact, model, f"{root}/1/model.onnx")
            if backend == "python":
                code = Path(__file__).with_name("python_model.py").read_text(encoding="utf-8")
                artifact.add_text(f"{root}/1/model.py", code)
        return folders

    def config(self, backend: Backend) -> ModelConfig:
        """The config.pbtxt of one backend.

        Raises:
            TritonError: see `write`.
        """
        if backend == "tensorrt":
            wrong = [port for port in (*self.inputs, *self.outputs) if port.dtype in NOT_IN_PLANS]
            if wrong:
                raise TritonError(f"{wrong[0].name!r} is {wrong[0].dtype}, which no TensorRT engine takes or gives")
        files: Mapping[Backend, str] = {"tensorrt": "model.plan", "onnx": "model.onnx", "python": ""}
        return ModelConfig(
            name=self.name,
            engine=ENGINES[backend],
            inputs=self.inputs,
            outputs=self.outputs,
            instance=Instance("KIND_AUTO" if backend == "python" and self.kind == "KIND_GPU" else self.kind),
            file=files[backend],
            parameters={"model": "model.onnx"} if backend == "python" else {},
            capability=self.capability if backend == "tensorrt" else "",
        )

    @staticmethod
    def _copy_model(artifact: ArtifactBuilder, model: str, name: str) -> None:
        source, target = artifact.path_for(model), artifact.path_for(name)
        shutil.copyfile(source, target)
        side = source.with_name(f"{source.name}.data")
        if side.is_file():
            shutil.copyfile(side, target.with_name(side.name))


def model_name(name: str) -> str:
    """A name for a folder and for URLs."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._-") or "model"


def graph_ports(graph: Graph) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of a graph.

    Raises:
        TritonError: a value is no tensor of known rank.
    """
    return (
        tuple(_port(n, t) for n, t in zip(graph.input_names, graph.inputs, strict=True)),
        tuple(_port(n, t) for n, t in zip(graph.output_names, graph.outputs, strict=True)),
    )


def _port(name: str, tensor: Tensor) -> Port:
    if not tensor.type.is_tensor or tensor.type.shape is None:
        raise TritonError(f"{name!r} is {tensor.type}: Triton transports tensors of known rank")
    return Port(name, tensor.type.dtype, tuple(d if isinstance(d, int) else None for d in tensor.type.dims))
