"""Model repositories of NVIDIA's Triton Inference Server, for the targets that it serves."""

from uair.codegen.triton.config import Instance, ModelConfig, Port, TritonError
from uair.codegen.triton.repository import BACKENDS, Backend, Repository

__all__ = ["BACKENDS", "Backend", "Instance", "ModelConfig", "Port", "Repository", "TritonError"]
