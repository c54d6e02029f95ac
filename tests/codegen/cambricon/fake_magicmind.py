"""A double of MagicMind's Python package for build.py and run.py: it checks how it is used, and writes down the calls.

Written to a folder as the package `magicmind`; the calls go to calls.json in the current folder. What it knows of the
interface is what the public samples show (Cambricon magicmind_cloud 1.7).
"""

from __future__ import annotations

from pathlib import Path

RUNTIME = """
import json
from pathlib import Path

import numpy as np

CALLS = []
FAIL = ""


def note(name, *values):
    CALLS.append([name, *values])
    Path("calls.json").write_text(json.dumps(CALLS))
    return Status(0, "") if name != Path("fail.txt").read_text() else Status(1, f"{name} was told to fail")


class Code:
    OK, OUT_OF_RANGE = 0, 2


class Status:
    def __init__(self, code, text):
        self.code, self.text = code, text

    def ok(self):
        return self.code == 0

    def __str__(self):
        return self.text

    @staticmethod
    def OK():
        return Status(0, "")


class ModelKind:
    kOnnx = "onnx"


class QuantizationAlgorithm:
    LINEAR_ALGORITHM, EQNM_ALGORITHM = "linear", "eqnm"


class DataType:
    FLOAT32, FLOAT16, INT32, INT64, UINT8 = "float32", "float16", "int32", "int64", "uint8"


class Dims:
    def __init__(self, extents):
        assert isinstance(extents, tuple) and all(type(e) is int for e in extents)
        self.extents = extents


class Input:
    def __init__(self, index):
        self.index = index

    def set_dimension(self, dims):
        return note("set_dimension", self.index, list(dims.extents))


class Network:
    parsed = False

    def get_input(self, index):
        assert self.parsed
        return Input(index)


class BuilderConfig:
    content = None

    def parse_from_file(self, path):
        self.content = json.loads(Path(path).read_text())
        return note("parse_from_file", self.content)

    def parse_from_string(self, text):
        self.content = json.loads(text)
        return note("parse_from_string", self.content)


class CalibDataInterface:
    pass


class RemoteConfig:
    address = ""


class Calibrator:
    algorithm = None
    remote = None

    def __init__(self, data):
        assert all(isinstance(each, CalibDataInterface) for each in data)
        self.data = data

    def set_quantization_algorithm(self, algorithm):
        self.algorithm = algorithm
        return note("set_quantization_algorithm", algorithm)

    def set_remote(self, remote):
        self.remote = remote.address
        return note("set_remote", remote.address)

    def calibrate(self, network, config):
        assert network.parsed and self.algorithm and config.content
        assert self.remote or (System.active and Device.used is not None)
        seen = []
        for each in self.data:
            for _ in range(2):  # it may be read again
                assert each.reset().ok()
                count = total = 0
                while (status := each.next()).ok():
                    sample = each.get_sample()
                    assert sample.flags.c_contiguous and sample.shape == each.get_shape().extents
                    assert str(sample.dtype) == each.get_data_type()
                    count, total = count + 1, total + float(sample.sum())
                assert status.code == Code.OUT_OF_RANGE
            seen.append([count, round(total, 3)])
        return note("calibrate", seen)


class System:
    active = False

    def __enter__(self):
        System.active = True
        return self

    def __exit__(self, *_):
        System.active = False


class Tensor:
    value = None

    def from_numpy(self, array):
        self.value = array

    def to(self, device):
        assert device.used == device.id

    def asnumpy(self):
        return self.value


class Device:
    used = None
    id = 0

    def active(self):
        Device.used = self.id
        return note("active", self.id)

    def create_queue(self):
        return Queue()


class Queue:
    def sync(self):
        return note("sync")


class Context:
    def __init__(self, count):
        self.count = count

    def create_inputs(self):
        return [Tensor() for _ in range(self.count)]

    def enqueue(self, inputs, outputs, queue):
        for i in range(2):
            outputs.append(Tensor())
            outputs[-1].value = inputs[0].value.astype(np.float32) + i
        return note("enqueue", [[str(t.value.dtype), list(t.value.shape)] for t in inputs])


class Model:
    class EngineConfig:
        device_type = ""

    def serialize_to_file(self, path):
        if Path("fail.txt").read_text() != "nothing":
            Path(path).write_text("mm")
        return note("serialize_to_file", Path(path).name)

    def deserialize_from_file(self, path):
        return Status(0 if Path(path).is_file() else 1, "no file")

    def create_i_engine(self, config):
        assert config.device_type == "MLU"
        return self

    def create_i_context(self):
        return Context(1)


class Builder:
    def build_model(self, name, network, config):
        assert network.parsed and config.content
        note("build_model", name)
        return None if Path("fail.txt").read_text() == "build_model" else Model()
"""
PARSER = """
from pathlib import Path

from . import note


class Parser:
    def __init__(self, kind):
        assert kind == "onnx"

    def parse(self, network, path):
        assert Path(path).is_file()
        network.parsed = True
        return note("parse", Path(path).name)
"""


def install(folder: Path) -> Path:
    """Write the package; the folder for PYTHONPATH."""
    runtime = folder / "magicmind" / "python" / "runtime"
    runtime.mkdir(parents=True)
    for package in (runtime.parent.parent, runtime.parent):
        (package / "__init__.py").write_text("")
    (runtime / "__init__.py").write_text(RUNTIME)
    (runtime / "parser.py").write_text(PARSER)
    return folder
