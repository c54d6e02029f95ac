"""A model of Triton's Python backend: onnxruntime on the ONNX file beside this one.

Needs numpy and onnxruntime in the Python that the server starts; TensorRT and CUDA are used where that onnxruntime has
them. Written by UAIR.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

PREFERRED = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")


class TritonPythonModel:
    """What the server calls."""

    def initialize(self, args: Mapping[str, Any]) -> None:
        """Load the model, once for each instance."""
        runtime: Any = importlib.import_module("onnxruntime")
        self.utils: Any = importlib.import_module("triton_python_backend_utils")
        config = json.loads(args["model_config"])
        file = config["parameters"]["model"]["string_value"]
        path = os.path.join(args["model_repository"], args["model_version"], file)
        on_cpu = args.get("model_instance_kind") == "CPU"
        available = runtime.get_available_providers()
        wanted = [p for p in PREFERRED if p in available and (not on_cpu or p == "CPUExecutionProvider")]
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        # Otherwise onnxruntime shifts int8 activations to uint8 on x86, and gets some symmetric models wrong (1.23.2).
        options.add_session_config_entry("session.qdqisint8allowed", "1")
        self.session = runtime.InferenceSession(path, options, providers=wanted)
        self.inputs = [each["name"] for each in config["input"]]
        self.outputs = [each["name"] for each in config["output"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request; a failed one says why and leaves the others alone."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        utils = self.utils
        try:
            feeds = {name: utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            asked = list(request.requested_output_names()) or self.outputs
            values = self.session.run(asked, feeds)
        except Exception as error:  # noqa: BLE001  whatever onnxruntime raises is the client's to read
            return utils.InferenceResponse(error=utils.TritonError(f"{type(error).__name__}: {error}"))
        pairs = zip(asked, values, strict=True)
        return utils.InferenceResponse([utils.Tensor(name, np.ascontiguousarray(value)) for name, value in pairs])

    def finalize(self) -> None:
        """Let go of the model."""
        del self.session
