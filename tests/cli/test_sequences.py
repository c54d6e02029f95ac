"""Models with sequences and control flow on the command line and in the API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save_model

from tests.cli.helpers import Shell
from uair import UairError, api

SEQUENCES = """
%words: seq<f32[?]>
%last: f32[2]
%longer = SequenceInsert(%words, %last)
%joined = ConcatFromSequence(%longer) {axis = 0}
return %longer, %joined
"""


@pytest.fixture
def sequences(tmp_path: Path) -> Path:
    path = tmp_path / "sequences.uair"
    path.write_text(SEQUENCES)
    np.savez(tmp_path / "words.npz", first=np.ones(1, np.float32), second=np.full(3, 2, np.float32))
    np.save(tmp_path / "last.npy", np.zeros(2, np.float32))
    return path


def test_a_sequence_is_read_from_an_archive_and_shown_in_parts(sequences: Path, uair: Shell) -> None:
    folder = sequences.parent
    given = ("--input", f"words={folder / 'words.npz'}", "--input", f"last={folder / 'last.npy'}")
    shown = uair("run", sequences, *given)
    assert shown.status == 0, shown.err
    assert "longer[1]: float32[3]  2, 2, 2" in shown.out
    assert "joined: float32[6]  1, 2, 2, 2, 0, 0" in shown.out
    found = uair("run", sequences, *given, "--json").json["outputs"]
    assert [found[f"longer[{i}]"]["shape"] for i in range(3)] == [[1], [3], [2]]


def test_sequences_through_onnxruntime(sequences: Path, uair: Shell) -> None:
    module = api.load(sequences)
    artifact = api.compile(module, target="cpu")
    assert artifact.manifest["inputs"][0] == {"name": "words", "dtype": "f32", "shape": ["?"], "containers": ["seq"]}
    feeds = {"words": [np.ones(1, np.float32), np.zeros(2, np.float32)], "last": np.ones(2, np.float32)}
    got, want = api.run(artifact, feeds), api.run(module, feeds)
    assert [len(v["longer"]) for v in (got, want)] == [3, 3]
    np.testing.assert_array_equal(got["joined"], want["joined"])
    assert "words: seq<f32[?]>" in uair("inspect", sequences).out


def test_a_value_of_another_kind_is_refused(sequences: Path) -> None:
    with pytest.raises(UairError, match=r"'words' expects a value of type seq<f32\[\?\]>"):
        api.run(api.load(sequences), {"words": [np.ones(1)], "last": np.ones(2, np.float32)})


def test_a_target_of_tensors_says_so(sequences: Path) -> None:
    (report,) = api.check(api.load(sequences), targets=["rk3588"])
    assert {row.reason for row in report.problems()} == {"the target takes tensors only, a value is seq<f32[?]>"}


def test_no_reference_output_when_random_numbers_do_not_run(tmp_path: Path, uair: Shell) -> None:
    """Row 7 of a table of nine: an index drawn at random (0 or 1) has no row -8 to go with."""
    node = helper.make_node("Gather", ["table", "shifted"], ["y"])
    shift = helper.make_node("Sub", ["i", "eleven"], ["shifted"])
    model = helper.make_model(
        helper.make_graph(
            [shift, node],
            "g",
            [helper.make_tensor_value_info("i", TensorProto.INT64, [1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
            [
                helper.make_tensor("table", TensorProto.FLOAT, [9], list(range(9))),
                helper.make_tensor("eleven", TensorProto.INT64, [1], [11]),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path = tmp_path / "table.onnx"
    save_model(model, path)
    made = uair("compile", path, "--target", "cpu", "-o", tmp_path / "out")
    assert made.status == 0, made.err
    assert "no reference output" in made.err
    assert "give --golden" in made.err
    np.save(tmp_path / "i.npy", np.array([4]))
    run = uair("run", tmp_path / "out", "--input", f"i={tmp_path / 'i.npy'}")
    assert "y: float32[1]  2" in run.out
