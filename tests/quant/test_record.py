"""Calibration that is made once: a file in the place of the samples, for the same target and for others."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import uair
from tests.quant.networks import Builder
from uair.ir.compare import graph_difference
from uair.ir.dtype import Array
from uair.ir.fingerprint import fingerprints, graph_fingerprint
from uair.ir.graph import Graph, constant
from uair.ir.module import Module
from uair.ops import Add, Conv2D, GlobalAvgPool, HardSwish, Linear, Relu, Reshape
from uair.quant.errors import CalibrationDataError, EmptyCalibrationError
from uair.quant.observers import RangeObserver
from uair.quant.record import CalibrationRecord

SHAPE = (1, 3, 7, 7)


def network(seed: int = 0, head: float = 0.3) -> Module:
    """Convolutions with a residual sum and HardSwish, whose operand is used in part only, and a product."""
    net = Builder(*SHAPE, seed=seed)
    a = net.add(Relu(), net.add(Conv2D(pads=(1, 1, 1, 1)), net.x, net.weight(8, 3, 3, 3), name="stem"), name="relu")
    b = net.add(Conv2D(pads=(1, 1, 1, 1)), a, net.weight(8, 8, 3, 3, scale=0.6), name="branch")
    c = net.add(Conv2D(), net.add(HardSwish(), b, name="swish"), net.weight(8, 8, 1, 1), name="end")
    pooled = net.add(GlobalAvgPool(), net.add(Add(), a, c, name="sum"), name="pool")
    flat = net.add(Reshape(shape=(1, 8)), pooled, name="flat")
    return net.done(net.add(Linear(), flat, net.weight(5, 8, scale=head), name="head"))


def samples(n: int = 24, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, *SHAPE[1:])).astype(np.float32)


class Counting(uair.Instrument):
    """Counts the samples that were run for calibration."""

    def __init__(self) -> None:
        self.count = 0
        self.stages: list[str] = []

    def progress(self, pass_: uair.Pass, stage: str, done: int, total: int) -> None:
        self.stages.append(stage)
        if stage == "calibration samples":
            self.count = max(self.count, done)
            assert total >= done


def quantized(calibration: Any, target: str = "cpu", module: Module | None = None, **options: Any) -> Any:
    counting = Counting()
    settings = uair.Int8(calibration, **options)
    result = uair.quantize(module or network(), settings, target, instruments=[counting])
    return attrs.evolve(result, report={**result.report, "run": counting.count})


def same(a: Any, b: Any) -> bool:
    """Whether two modules have the same parameters, bit for bit."""
    return graph_difference(a.module.main, b.module.main) == ""


@pytest.mark.parametrize("method", ["auto", "minmax", "percentile", "mse", "entropy"])
@pytest.mark.parametrize("target", ["cpu", "rk3588", "jetson_orin", "ascend310"])
def test_the_file_gives_what_the_samples_give(target: str, method: str, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    quantized(samples(), "cpu", statistics=file)
    expected = quantized(samples(), target, range=method)
    found = quantized(file, target, range=method)
    assert same(expected, found)
    assert expected.report["run"] == 24
    assert found.report["run"] == 0
    before, after = (each.report["summary"]["calibration"] for each in (expected, found))
    assert after == {**before, "statistics": CalibrationRecord.load(file).digest()}


def test_with_the_samples_at_hand_they_are_not_run_again(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    first = quantized(samples(), statistics=file)
    content = file.read_bytes()
    second = quantized(samples(), statistics=file)
    assert (first.report["run"], second.report["run"]) == (24, 0)
    assert same(first, second)
    assert file.read_bytes() == content
    assert first.report["summary"] == second.report["summary"]


def test_a_compilation_takes_it_too(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    made = uair.compile(network(), "cpu", quantize=uair.Int8(samples(), statistics=file))
    again = uair.compile(network(), "cpu", quantize=uair.Int8(file))
    digest = CalibrationRecord.load(file).digest()
    for artifact in (made, again):
        calibration = artifact.manifest["quantization"]["calibration"]
        assert calibration["statistics"] == digest
        assert calibration["samples"] == 24
    assert made.file("model.onnx").read_bytes() == again.file("model.onnx").read_bytes()
    np.testing.assert_array_equal(
        np.load(made.file("golden/inputs.npz"))["x"], np.load(again.file("golden/inputs.npz"))["x"]
    )


def test_high_effort_runs_the_samples_that_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    quantized(samples(32), statistics=file, keep_samples=32)
    assert same(quantized(samples(32), effort="high"), quantized(file, effort="high"))


def test_without_kept_samples(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    quantized(samples(), statistics=file, keep_samples=0)
    assert CalibrationRecord.load(file).kept == []
    found = quantized(file)
    ranges = [node["activations"] for node in quantized(samples(), range="mse").report["nodes"]]
    assert [node["activations"] for node in found.report["nodes"]] == ranges
    assert found.report["summary"]["ranges"] == "mse"
    assert found.report["summary"]["outputs"] == {}
    assert any("keeps no samples" in note for note in found.notes)
    assert quantized(file, "rk3588").report["summary"]["quantized"] > 0  # whose device file asks for a cosine
    with pytest.raises(EmptyCalibrationError, match="effort=high is decided by running"):
        quantized(file, effort="high")
    with pytest.raises(EmptyCalibrationError, match="least-cosine"):
        quantized(file, least_cosine=0.9)
    with pytest.raises(EmptyCalibrationError, match="sensitivity"):
        quantized(file, sensitivity=True)


def test_values_that_a_rewrite_puts_in_are_measured_on_the_kept_samples(tmp_path: Path) -> None:
    file, bare = tmp_path / "calibration.json", tmp_path / "bare.json"
    quantized(samples(), "cpu", statistics=file)
    quantized(samples(), "cpu", statistics=bare, keep_samples=0)
    changed = network(head=0.7)  # only the last layer: what is in front of it is known
    record = CalibrationRecord.load(file)
    name = next(n for n in changed.main if n.name == "relu").output
    own = fingerprints(changed.main)[name]
    record.observers = {key: observer for key, observer in record.observers.items() if key[0] != own}
    record.save(file)
    found = quantized(file, "rk3588", changed)
    note = next(note for note in found.notes if "rewrites for the target" in note)
    assert "'relu'" in note and "the 6 samples that it keeps" in note
    bare_record = CalibrationRecord.load(bare)
    bare_record.observers = record.observers
    bare_record.save(bare)
    with pytest.raises(CalibrationDataError, match="lacks 1 of the"):
        quantized(bare, "rk3588", changed)


def test_a_vendors_tool_gets_the_samples_that_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    quantized(samples(), statistics=file)
    artifact = uair.compile(network(), "horizon_j5", quantize=uair.Int8(file))
    assert len([name for name in artifact.manifest["files"] if name.startswith("calibration/")]) == 6
    notes = json.loads(artifact.file("report.json").read_text("utf-8"))["quantization"]["notes"]
    assert "horizon_j5's own tool calibrates, with the 6 samples that the saved calibration keeps" in " ".join(notes)
    quantized(samples(), statistics=tmp_path / "bare.json", keep_samples=0)
    with pytest.raises((EmptyCalibrationError, CalibrationDataError), match="keeps none|keeps no samples"):
        uair.compile(network(), "horizon_j5", quantize=uair.Int8(tmp_path / "bare.json"))


def test_parts_of_a_model_run_the_samples_that_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    whole = uair.compile(network(), "rk3588", quantize=uair.Int8(samples(), statistics=file), pins={"sum": "cpu"})
    parts = uair.compile(network(), "rk3588", quantize=uair.Int8(file), pins={"sum": "cpu"})
    assert len(parts.manifest["partitions"]) == len(whole.manifest["partitions"]) > 1
    assert parts.manifest["quantization"]["quantized"] == whole.manifest["quantization"]["quantized"]


# -------------------------------------------------------------------------------------------------------------- refused
def test_another_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    quantized(samples(), statistics=file)
    with pytest.raises(CalibrationDataError, match="this is another model, or it has changed since"):
        quantized(file, module=network(seed=1))
    with pytest.raises(CalibrationDataError, match="this is another model"):
        quantized(samples(), module=network(seed=1), statistics=file)
    wide = Builder(1, 3, 16, 16)
    other = wide.done(wide.add(Conv2D(), wide.x, wide.weight(8, 3, 3, 3)))
    with pytest.raises(CalibrationDataError, match=r"was made for the inputs x: f32\[1,3,7,7\], the model has x: f32"):
        quantized(file, module=other)


def test_other_samples_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    quantized(samples(), statistics=file)
    content = file.read_bytes()
    with pytest.raises(CalibrationDataError, match="is of 24 samples, an array; these are 24, an array, with other"):
        quantized(samples(seed=1), statistics=file)
    with pytest.raises(CalibrationDataError, match="these are 16"):
        quantized(samples()[:16], statistics=file)
    assert file.read_bytes() == content


def damaged(value: dict[str, Any], path: str, new: Any) -> dict[str, Any]:
    """A copy with another value at a place, `a/0/b`."""
    copy: dict[str, Any] = json.loads(json.dumps(value))
    *parents, last = path.split("/")
    at: Any = copy
    for part in parents:
        at = at[int(part) if isinstance(at, list) else part]
    at[int(last) if isinstance(at, list) else last] = new
    return copy


def packed(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw)).decode()


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("tensors", None),
        ("tensors/1/values", 7),
        ("tensors/1/values", True),
        ("tensors/1/min", 1e300),
        ("tensors/1/max", "much"),
        ("tensors/1/min", 17.0),
        ("tensors/1/used", [1]),
        ("tensors/1/bins/exponent", 4000),
        ("tensors/1/bins/first", 0.5),
        ("tensors/1/bins/counts", "no base64!"),
        ("tensors/1/bins/counts", packed(b"\0" * (1 << 20))),
        ("tensors/1/bins/counts", packed(b"\xff" * 16)),
        ("channels", 3),
        ("channels/0/axis", -1),
        ("channels/0/samples", 0),
        ("channels/0/low", packed(b"\xff" * 64)),
        ("channels/0/parts", packed(b"\0" * 8)),
        ("channels/0/high", "no base64!"),
        ("tensors/1/fingerprint", []),
        ("samples/count", -1),
        ("samples/kept/0/x/type", "f99"),
        ("samples/kept/0/x/type", "string"),
        ("samples/kept/0/x/shape", [1, 3, 8, 9]),
        ("samples/kept/0/x/shape", [1 << 40, 1 << 40]),
        ("samples/kept/0/x/data", packed(b"\0" * (1 << 20))),
        ("samples/kept/0", {}),
        ("inputs", {"x": 3}),
    ],
)
def test_damaged_files_are_refused(path: str, new: Any, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    quantized(samples(9), statistics=file)
    value = json.loads(file.read_text("utf-8"))
    if path == "tensors/1/fingerprint":  # of another value then: it is measured again
        file.write_text(json.dumps(damaged(value, path, new)), "utf-8")
        assert quantized(file).report["summary"]["quantized"] == 4
        return
    file.write_text(json.dumps(damaged(value, path, new)), "utf-8")
    with pytest.raises(CalibrationDataError, match=r"calibration\.json is damaged|does not fit|made for the inputs"):
        quantized(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"format": "uair calibration 9"}', "[" * 100_000, "\udcff"])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(CalibrationDataError, match="cannot be read as JSON|is no record of a calibration"):
        quantized(file)


def test_channels_are_kept_too(tmp_path: Path) -> None:
    """One that the file does not have is looked at on the samples that are kept."""
    net = Builder(*SHAPE)
    a = net.add(Relu(), net.add(Conv2D(), net.x, net.weight(8, 3, 3, 3), name="stem"))
    module = net.done(net.add(Conv2D(), a, net.weight(8, 8, 1, 1), name="reader"))
    file = tmp_path / "calibration.json"
    first = quantized(samples(), module=module, statistics=file)
    record = CalibrationRecord.load(file)
    assert {seen.samples for _, seen in record.channels.values()} == {24}
    assert same(first, quantized(file, module=module))
    again = quantized(samples(), module=module, statistics=file)
    assert again.report["run"] == 0 and same(first, again)
    value = json.loads(file.read_text("utf-8"))
    del value["channels"]
    file.write_text(json.dumps(value), "utf-8")
    older = quantized(file, module=module)
    assert older.report["run"] == 0 and any("earlier versions" in note for note in older.notes)
    assert quantized(samples(), module=module, statistics=file).report["run"] == 24
    assert len(CalibrationRecord.load(file).channels) == len(record.channels)


# --------------------------------------------------------------------------------------------------------------- pieces
def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    quantized(samples(), statistics=tmp_path / "a.json")
    record = CalibrationRecord.load(tmp_path / "a.json")
    record.save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert record.digest() == CalibrationRecord.load(tmp_path / "b.json").digest()
    assert record.count == 24
    assert len(record.kept) == 6  # every fourth
    np.testing.assert_array_equal(record.kept[0]["x"], samples()[:1])
    assert all(isinstance(observer, RangeObserver) for observer in record.observers.values())
    assert any(least == -3.0 for _, least, _ in record.observers)  # HardSwish is 0 below


def test_clipping_a_histogram() -> None:
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    whole, part = RangeObserver("x"), RangeObserver("x")
    whole.observe(values)
    part.observe(values, -0.5, 1.0)
    clipped = whole.clipped(-0.5, 1.0)
    assert (clipped.minimum, clipped.maximum, clipped.count) == (-0.5, 1.0, 5000)
    assert clipped.is_consistent()
    part.merge(clipped)  # at the coarser one of their exponents
    np.testing.assert_array_equal(2 * clipped.counts, part.counts)
    assert clipped.first == part.first
    everything = whole.clipped(-math.inf, math.inf)
    np.testing.assert_array_equal(everything.counts, whole.counts)
    assert RangeObserver().clipped(0, 1).count == 0


def test_fingerprints_tell_values_apart() -> None:
    def prints(graph: Graph) -> dict[str, str]:
        return {tensor.name: value for tensor, value in fingerprints(graph).items()}

    one, two = network(), network()
    for node in two.main:
        node.name = f"other_{node.name}"  # names do not count
    assert list(prints(one.main).values()) == list(prints(two.main).values())
    assert graph_fingerprint(one.main) == graph_fingerprint(two.main)
    assert len(set(prints(one.main).values())) == len(prints(one.main))
    weights = prints(network(head=0.7).main)
    changed = {name for name, value in prints(one.main).items() if weights[name] != value}
    assert changed == {"head"}
    three = network()
    swish = next(n for n in three.main if n.name == "branch")
    swish.set_input(1, constant(np.zeros((8, 8, 3, 3), np.float32), "zeros"))
    later = {name for name, value in prints(one.main).items() if prints(three.main)[name] != value}
    assert later == {"branch", "swish", "end", "sum", "pool", "flat", "head"}


def test_stages_are_told(tmp_path: Path) -> None:
    counting = Counting()
    uair.quantize(network(), uair.Int8(samples(9)), instruments=[counting])
    assert list(dict.fromkeys(counting.stages)) == ["calibration samples", "choosing ranges", "measuring the result"]
    assert counting.count == 9


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from uair.cli import main
    from uair.text import save

    monkeypatch.chdir(tmp_path)
    save(network(), tmp_path / "net.uair")
    np.save("calib.npy", samples())

    def run(*arguments: str) -> Mapping[str, Any]:
        assert main(["quantize", "net.uair", *arguments, "--json", "--overwrite"]) == 0
        out: Mapping[str, Any] = json.loads(capsys.readouterr().out)
        return out

    first = run("--calib", "calib.npy", "--save-calibration", "calibration.json", "-o", "a.onnx")
    second = run("--calib", "calibration.json", "-o", "b.onnx")
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()
    assert first["nodes"] == second["nodes"]
    assert run("--calib", "calibration.json", "-t", "jetson_orin", "-o", "c.onnx")["summary"]["quantized"] >= 4
