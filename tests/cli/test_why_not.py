"""`uair why-not`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.helpers import Shell
from tests.debugging import faults
from tests.debugging.test_bisect import CHAIN
from tests.debugging.test_why_not import TEXT
from uair.passes.catalogue import all_rules


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.uair"
    path.write_text(TEXT)
    return path


def test_a_table_of_all_candidates(uair: Shell, model: Path) -> None:
    lines = uair("why-not", "fold-batch-norm", model).require().out.splitlines()
    assert lines[0].startswith("fold-batch-norm (pass fuse): BatchNorm after a convolution")
    assert "5 candidates; it applies to 1:" in lines
    (row,) = [line for line in lines if line.startswith("%f ")]
    assert "BatchNormalization 'bn/f'" in row and row.endswith("<tensor %v: f32[2]> is not a constant")


def test_one_node(uair: Shell, model: Path) -> None:
    out = uair("why-not", "fold-batch-norm", model, "bn/d").require().out
    text = " ".join(out.split())
    assert "It does not apply at %d (BatchNormalization 'bn/d'): <tensor %c: f32[1,2,4,4]> is also used by" in text
    assert "2 of the 2 nodes of the pattern matched. That is from Conv 'conv/c' in the model." in text
    assert "^^^^^^^^^ from BatchNormalization 'bn/d'" in text
    assert "It applies at %b" in uair("why-not", "fold-batch-norm", model, "%b").require().out


def test_behind_passes(uair: Shell, model: Path) -> None:
    out = uair("why-not", "fold-batch-norm", model, "-p", "canonicalise,fuse").require().out
    assert "The passes have applied it 1 times already" in out
    out = uair("why-not", "fold-batch-norm", model, "bn/b", "-p", "canonicalise,fuse").require().out
    assert "applied already, in pass fuse" in " ".join(out.split())
    assert "No node of the model is a Tanh." in uair("why-not", "tanh-is-sigmoid", model, *plugin()).require().out


def plugin() -> tuple[str | Path, ...]:
    return "--plugin", Path(faults.__file__)


def test_a_rule_of_a_plug_in(uair: Shell, tmp_path: Path) -> None:
    (tmp_path / "chain.uair").write_text(CHAIN)
    out = uair("why-not", "tanh-is-sigmoid", "chain.uair", "third", *plugin()).require().out
    assert out.startswith("tanh-is-sigmoid: Wrong everywhere.") and "It applies at %c (Tanh 'third')." in out


def test_json(uair: Shell, model: Path) -> None:
    found = uair("why-not", "fold-batch-norm", model, "--json").require().json
    assert found["rule"] == "fold-batch-norm" and found["passes"] == ["fuse"] and found["starts_from"] == ["BatchNorm"]
    assert [c["node"] for c in found["candidates"]] == ["%b", "%d", "%f", "%h", "%z"]
    assert found["candidates"][1]["culprit"] == "<tensor %c: f32[1,2,4,4]>"
    assert found["candidates"][0] == {
        "node": "%b", "operator": "BatchNorm", "applies": True, "reason": "", "culprit": None, "culprit_location": "",
        "sources": [{"name": "bn/b", "kind": "BatchNormalization", "file": ""}], "matched": 2, "wanted": 2,
    }  # fmt: skip


def test_the_list_of_rules(uair: Shell) -> None:
    out = uair("why-not", "--list-rules").require().out
    assert all(f"{name}  [" in out for name in all_rules())


def test_wrong_names(uair: Shell, model: Path) -> None:
    err = uair("why-not", "fold-batchnorm", "missing.onnx").require(1).err
    assert "no rule called 'fold-batchnorm'" in err and "did you mean fold-batch-norm" in err
    assert "no node 'bn/q'" in uair("why-not", "fold-batch-norm", model, "bn/q").require(1).err
    uair("why-not", "fold-batch-norm").require(2)


def test_long_names_are_shortened_in_the_table_alone(uair: Shell, tmp_path: Path) -> None:
    """TFLite's converter joins the names of all that it fused."""
    long = ";".join(["block/convolution"] * 12)
    path = tmp_path / "long.uair"
    path.write_text(
        f'%x: f32[2]\n%"{long}" = Relu(%x) loc("{long}" RELU)\n%y = Clip(%"{long}") {{min = 0.0, max = 6.0}}\nreturn %y'
    )
    out = uair("why-not", "merge-clips", path).require().out
    row = next(line for line in out.splitlines() if "RELU" in line)
    assert long not in row and row.count("...") == 2
    assert long in uair("why-not", "merge-clips", path, "--json").require().out
