"""Model repositories in NVIDIA's Triton server: the Python backend answers over HTTP like the reference.

The wheel's server has the Python backend only; configurations of the other backends are read with Triton's own schema.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uair
from tests import zoo
from tests.quant.networks import samples, small_cnn
from uair.artifact import Artifact
from uair.request import Int8

pytestmark = pytest.mark.vendor

READY_SECONDS = 60


def environment() -> Path:
    """The virtual environment that tools/vendor/triton.sh fills (`make vendor-triton`)."""
    home = os.environ.get("UAIR_VENDOR_HOME")
    folder = (Path(home) if home else zoo.cache_dir() / "vendor") / "triton"
    assert folder.is_dir(), f"{folder} is missing: run `make vendor-triton`"
    return folder


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def served(repository: Path, log: Path) -> Generator[str, None, None]:
    """A server on the repository; its address."""
    home = environment()
    (packages,) = home.glob("lib/python*/site-packages")
    server = packages / "pytriton" / "tritonserver"
    port = free_port()
    command = [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={server / 'backends'}",
        "--http-address=127.0.0.1",
        f"--http-port={port}",
        "--allow-grpc=false",
        "--allow-metrics=false",
    ]
    variables = {
        "PATH": f"{home / 'bin'}:/usr/bin:/bin",
        "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}:{server / 'lib'}",
        "PYTHONPATH": str(packages),
        "HOME": str(log.parent),
        "OMP_NUM_THREADS": "1",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(address, process, log)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended with {process.returncode}:\n{log.read_text()[-3000:]}"
        try:
            with urllib.request.urlopen(f"{address}/v2/health/ready", timeout=2) as answer:
                if answer.status == 200:
                    return
        except urllib.error.HTTPError as error:  # it is there, but not ready
            error.close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass  # not there yet
        time.sleep(0.2)
    raise AssertionError(f"the server is not ready after {READY_SECONDS} s:\n{log.read_text()[-3000:]}")


DATATYPES = {"float32": "FP32", "int64": "INT64", "int32": "INT32", "uint8": "UINT8", "bool": "BOOL"}


def request(address: str, path: str, content: Any = None) -> Any:
    """One HTTP exchange of the KServe v2 protocol."""
    data = None if content is None else json.dumps(content).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{address}{path}", data=data), timeout=60) as answer:
        body = answer.read()
    return json.loads(body) if body else None


def infer(address: str, model: str, feeds: Mapping[str, Any]) -> dict[str, Any]:
    inputs = [
        {"name": n, "shape": list(a.shape), "datatype": DATATYPES[str(a.dtype)], "data": a.reshape(-1).tolist()}
        for n, a in feeds.items()
    ]
    answer = request(address, f"/v2/models/{model}/infer", {"inputs": inputs})
    kinds = {name: kind for kind, name in DATATYPES.items()}
    return {o["name"]: np.array(o["data"], kinds[o["datatype"]]).reshape(o["shape"]) for o in answer["outputs"]}


def assembled(folder: Path) -> dict[str, Artifact]:
    """Artifacts of three models: the cpu target's, and Jetson's in float and in INT8."""
    cls = zoo.models()["ppocr_cls"]
    both = {"triton": "python,onnx"}
    return {
        "cpu": uair.compile(cls.path, "cpu", shapes=cls.shapes, output=folder / "cpu", options=both),
        "orin": uair.compile(small_cnn(), "jetson_orin", output=folder / "orin", options={"triton": "python"}),
        "orin_int8": uair.compile(
            cls.path,
            "jetson_orin",
            shapes=cls.shapes,
            quantize=Int8(calibration=cls.calibration(4)),
            output=folder / "orin_int8",
            options={"triton": "python,tensorrt"},
        ),
    }


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return assembled(tmp_path_factory.mktemp("artifacts"))


@pytest.mark.parametrize("which", ["cpu", "orin", "orin_int8"])
def test_the_python_backend_answers_like_the_reference(
    which: str, artifacts: dict[str, Artifact], tmp_path: Path
) -> None:
    artifact = artifacts[which]
    repository = tmp_path / "repository"
    shutil.copytree(artifact.root / "triton" / "python", repository)
    (name,) = [path.name for path in repository.iterdir()]
    with served(repository, tmp_path / "server.log") as address:
        metadata = request(address, f"/v2/models/{name}")
        assert [each["name"] for each in metadata["inputs"]] == [each["name"] for each in artifact.manifest["inputs"]]
        assert [each["shape"] for each in metadata["outputs"]] == [
            each["shape"] for each in artifact.manifest["outputs"]
        ]
        answer = infer(address, name, artifact.arrays("golden/inputs.npz"))
        with pytest.raises(urllib.error.HTTPError) as refused:
            infer(address, name, {"nothing": np.zeros(1, np.float32)})
        assert refused.value.code == 400
        refused.value.close()
    for output, want in artifact.arrays("golden/outputs.npz").items():
        got = answer[output].astype(np.float64)
        cosine = float(got.ravel() @ want.ravel() / np.linalg.norm(got) / np.linalg.norm(want))
        assert cosine > (0.98 if which == "orin_int8" else 0.99999)


PARSE = """
import json, sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
found = {}
for path in sys.argv[1:]:
    config = text_format.Parse(open(path, encoding="utf-8").read(), model_config_pb2.ModelConfig())
    found[path] = json_format.MessageToDict(config, preserving_proto_field_name=True)
print(json.dumps(found))
"""


def test_every_configuration_follows_tritons_schema(artifacts: dict[str, Artifact]) -> None:
    files = [p for a in artifacts.values() for p in sorted((a.root / "triton").glob("*/*/config.pbtxt"))]
    python = environment() / "bin" / "python"
    done = subprocess.run([python, "-c", PARSE, *files], capture_output=True, text=True, timeout=120, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert len(found) == 5
    for path, config in found.items():
        backend = Path(path).parts[-3]
        engine = {"tensorrt": ("platform", "tensorrt_plan"), "onnx": ("platform", "onnxruntime_onnx")}
        key, value = engine.get(backend, ("backend", "python"))
        assert config[key] == value
        assert config["name"] == Path(path).parent.name
        artifact = next(a for a in artifacts.values() if a.root in Path(path).parents)
        for kind, ports in (("input", "inputs"), ("output", "outputs")):
            assert [p["name"] for p in config[kind]] == [p["name"] for p in artifact.manifest[ports]]
            assert all(p["data_type"] == "TYPE_FP32" for p in config[kind])
            assert [[int(d) for d in p["dims"]] for p in config[kind]] == [p["shape"] for p in artifact.manifest[ports]]
        on_device = "KIND_AUTO" if backend == "python" else "KIND_GPU"
        wanted = "KIND_CPU" if artifact.target == "cpu" else on_device
        assert config["instance_group"][0].get("kind", "KIND_AUTO") == wanted
    plan = next(c for p, c in found.items() if "/tensorrt/" in p)
    assert plan["cc_model_filenames"] == {"8.7": "model.plan"}


def test_python_of_the_server_is_the_one_of_the_wheel() -> None:
    packages = next(environment().glob("lib/python*/site-packages"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert packages.parent.name == version, "make the environment with the Python of the tests"
    assert samples(1)
