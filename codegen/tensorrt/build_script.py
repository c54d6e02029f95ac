"""Builds an engine with TensorRT's Python API, as the shell scripts do with trtexec. Written by UAIR.

    python3 build.py [--output FOLDER]

Runs on the device, in a Python that has `tensorrt`. Reads build.json beside it; writes model.plan and result.json. The
exit status is 0 when the engine was built and could be loaded again, 1 when TensorRT failed, 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from uair.codegen.standalone.parts import BuildFailed, recorded

HERE = Path(__file__).resolve().parent


def main(arguments: list[str] | None = None) -> int:
    """Build; the exit status."""
    parser = argparse.ArgumentParser(description="Build model.plan with TensorRT.")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the results (beside this file)")
    output: Path = parser.parse_args(arguments).output
    settings = json.loads((HERE / "build.json").read_text(encoding="utf-8"))
    plan = output / settings["engine"]
    plan.unlink(missing_ok=True)
    return recorded("build.py", output, lambda result: build(settings, plan, result))


def build(settings: dict[str, Any], plan: Path, result: dict[str, Any]) -> int:
    """Parse, configure, build, write, load again; 0, the exit status.

    Raises:
        BuildFailed: a step gave nothing.
    """
    trt: Any = importlib.import_module("tensorrt")
    version = str(trt.__version__)
    major = int(version.split(".", maxsplit=1)[0])
    result.update(tensorrt=version, stage="parse")
    logger = trt.Logger(trt.Logger.INFO)
    builder = trt.Builder(logger)
    path = HERE / model_of(settings, major)
    network = parsed(trt, builder, logger, path, flags_of(trt, major, typed=settings["typed"]))
    result["stage"] = "configure"
    config = configured(trt, builder, settings, version)
    result["stage"] = "build"
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise BuildFailed("no engine came out, the log above says why")
    plan.write_bytes(bytes(serialized))
    result.update(stage="load", bytes=plan.stat().st_size)
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        raise BuildFailed("the engine cannot be loaded again")
    found = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    missing = [name for name in (*settings["inputs"], *settings["outputs"]) if name not in found]
    if missing:
        raise BuildFailed(f"the engine has no {missing[0]!r}, it has {', '.join(found)}")
    result.update(stage="done", tensors=found)
    return 0


def model_of(settings: dict[str, Any], major: int) -> str:
    """The ONNX file for a version.

    Raises:
        BuildFailed: there is none.
    """
    models = settings["models"]
    if str(major) not in models:
        raise BuildFailed(f"there is no model for TensorRT {major}, only for {', '.join(models)}")
    return str(models[str(major)])


def flags_of(trt: Any, major: int, *, typed: bool) -> int:
    """How a network is created: 8 needs an explicit batch; `typed` keeps to the model's types, as 11 always does."""
    if major < 10:
        return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if typed and major == 10 else 0


def parsed(trt: Any, builder: Any, logger: Any, path: Path, flags: int) -> Any:
    """The network of an ONNX file.

    Raises:
        BuildFailed: with all of the parser's errors.
    """
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        raise BuildFailed("; ".join(errors) or f"{path.name} cannot be parsed")
    return network


def configured(trt: Any, builder: Any, settings: dict[str, Any], version: str) -> Any:
    """The builder's configuration. From TensorRT 11 on the model's own types decide about precision."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings["workspace"])
    if hasattr(config, "builder_optimization_level"):  # from 8.6 on
        config.builder_optimization_level = settings["effort"]
    if int(version.split(".", maxsplit=1)[0]) < 11 and not settings["typed"]:
        if settings["half"]:
            config.set_flag(trt.BuilderFlag.FP16)
        if settings["int8"]:
            config.set_flag(trt.BuilderFlag.INT8)
        if settings["caches"]:
            config.int8_calibrator = calibrator(trt, HERE / cache_of(settings["caches"], version))
    if settings["sparse"]:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    if settings["dla"] is not None:
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = settings["dla"]
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if settings["profile"]:
        profile = builder.create_optimization_profile()
        for name, shapes in settings["profile"].items():
            profile.set_shape(name, *(tuple(shapes[key]) for key in ("min", "opt", "max")))
        config.add_optimization_profile(profile)
    return config


def cache_of(caches: dict[str, str], version: str) -> str:
    """The cache whose header names this version, or the newest one of its generation.

    Raises:
        BuildFailed: there is none.
    """
    major, minor = version.split(".")[:2]
    own = {digits: file for digits, file in caches.items() if digits.startswith(major)}
    if not own:
        raise BuildFailed(f"there is no calibration cache for TensorRT {version}")
    return next((f for d, f in own.items() if d.startswith(major + minor)), own[max(own)])


def calibrator(trt: Any, path: Path) -> Any:
    """What hands the scales of a cache to TensorRT."""

    class Cache(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: Any) -> None:
            return None

        def read_calibration_cache(self) -> bytes:
            return path.read_bytes()

        def write_calibration_cache(self, cache: Any) -> None:
            return None

    return Cache()


if __name__ == "__main__":
    sys.exit(main())
