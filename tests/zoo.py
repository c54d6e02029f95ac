"""The zoo: the real models that UAIR is tested on, fetched on demand and kept in a cache.

```python
from tests import zoo
model = zoo.models()["ppocr_rec"]
model.path            # fetched from its package the first time; the pinned hash is checked
model.shapes          # {"x": (1, 3, 48, 320)}: what to bind its open dimensions to
model.feeds(seed=0)   # a realistic input by name; the same seed gives the same arrays
model.calibration(8)  # eight more, for quantization
```

Nothing is imported from the packages: a wheel is downloaded by pip without its dependencies, and the model files are
taken out of it. The two PyTorch models are exported by a child process (`zoo_export.py`) in a virtual environment of
their own, so that the environment of the tests needs no torch.

The cache is `$UAIR_CACHE`, or `uair` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache` or `%LOCALAPPDATA%`).
Fetching is safe under concurrent test processes: a lock per package, files moved into place whole.
`python -m tests.zoo --fetch` fills the cache beforehand, `--list` shows the models.
"""

# pyright: reportUnknownMemberType=false
# numpy's and onnx's own annotations leave type arguments open.

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import cache, partial
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt
import onnx

from tests import zoo_feeds, zoo_weights

Feeds = dict[str, npt.NDArray[np.generic]]

CALIBRATION_SEED = 10_000  # calibration never sees the inputs of `feeds` with a small seed


class ZooError(RuntimeError):
    """A model of the zoo could not be had: what failed, what the tool said, what to do."""


@attrs.frozen
class ZooModel:
    """One model of the zoo.

    Attributes:
        name: short name, unique in the zoo.
        licence: SPDX expression of the weights' licence.
        origin: package and version, or how the model was made.
        shapes: for every input the static shape that `feeds` produces; bind open dimensions to it.
        tags: `light` (every weight of a tensor is the same: the output is uniform and does not depend on the input, so
            comparing it proves little), `real` (the topology of a light model with random weights: compare these),
            `package` (pretrained, from a package), `torch` (exported here, needs torch), `large` (about 100 MiB),
            `dynamic` (has open dimensions), `image`, `text`, `audio`, `bytes` (what the input is).
    """

    name: str
    licence: str
    origin: str
    shapes: Mapping[str, tuple[int, ...]]
    tags: frozenset[str]
    _fetch: Callable[[], Path] = attrs.field(repr=False)
    _draw: Callable[[np.random.Generator], Feeds] = attrs.field(repr=False)

    @property
    def path(self) -> Path:
        """The model file; fetched or built when the cache lacks it.

        Raises:
            ZooError: the package registry cannot be reached, or the file is not the one that was pinned.
        """
        return self._fetch()

    def feeds(self, seed: int = 0) -> Feeds:
        """Return one realistic input, by input name, in the shapes of `shapes`; the same arrays for the same seed."""
        return self._draw(np.random.default_rng(seed))

    def calibration(self, n: int) -> list[Feeds]:
        """Return `n` inputs for calibration, none of them equal to `feeds` of a seed below 10,000."""
        return [self.feeds(CALIBRATION_SEED + index) for index in range(n)]


# -------------------------------------------------------------------------------------------------------------- cache
def cache_dir() -> Path:
    """Return the folder of everything that is fetched (see the module's docstring); it need not exist yet."""
    if chosen := os.environ.get("UAIR_CACHE"):
        return Path(chosen).expanduser().resolve()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "uair"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uair"


@contextlib.contextmanager
def locked(name: str) -> Generator[None, None, None]:
    """Hold the inter-process lock `name` of the cache; the system frees it when the process dies."""
    folder = cache_dir() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "a+b") as handle:
        if sys.platform == "win32":
            import msvcrt

            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _workspace() -> Generator[Path, None, None]:
    """Give a temporary folder on the cache's file system, so that a result can be moved into place in one step."""
    folder = cache_dir() / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield Path(name)


def _run(command: list[str], what: str, seconds: int, next_step: str) -> None:
    """Run a tool; raise a `ZooError` with the end of its output when it fails or takes longer than `seconds`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environment, check=False)
    except subprocess.TimeoutExpired as error:
        raise ZooError(f"{what}: no end after {seconds} s. {next_step}") from error
    if done.returncode != 0:
        tail = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-6:])
        raise ZooError(f"{what}: exit status {done.returncode}\n  {tail}\n{next_step}")


# ----------------------------------------------------------------------------------------------------------- packages
REGISTRY_HINT = (
    "Is the package registry reachable (PIP_INDEX_URL, PIP_FIND_LINKS and the other settings of pip apply)? "
    "`python -m tests.zoo --fetch` fills the cache, and UAIR_CACHE names a cache filled elsewhere."
)


@attrs.frozen
class PackageFile:
    """A file inside a wheel (or a source distribution, where there is no wheel), pinned by hash.

    `saved_as` is its name in the cache, where the member's own is not the only one of its kind in the package. `inner`
    is the file's name inside of the member, where that is an archive itself. `python` is a version that the package has
    a wheel for.
    """

    package: str
    version: str
    member: str
    sha256: str
    saved_as: str = ""
    source: bool = False
    inner: str = ""
    python: str = "3.11"

    @property
    def file_name(self) -> str:
        """Its name in the cache."""
        return self.saved_as or Path(self.inner or self.member).name

    def fetch(self) -> Path:
        """Return the file in the cache, downloading its package when it is not there."""
        folder = cache_dir() / "packages" / f"{self.package}-{self.version}"
        target = folder / self.file_name
        if target.exists():
            return target
        with locked(f"{self.package}-{self.version}"):
            if not target.exists():  # another process may have been first
                _extract(self, folder)
        return target


def _extract(asked: PackageFile, folder: Path) -> None:
    """Download a package and move all files that the zoo wants of it to `folder`."""
    package, version = asked.package, asked.version
    with _workspace() as work:
        # A fixed platform: the files are the same in every wheel, and this one exists whatever machine asks.
        platforms = ["--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64"]
        wheels = ["--only-binary=:all:", *platforms, f"--python-version={asked.python}"]
        options = ["--no-deps", *([f"--no-binary={package}"] if asked.source else wheels)]
        command = [sys.executable, "-m", "pip", "download", "-q", *options, "-d", str(work), f"{package}=={version}"]
        _run(command, f"pip could not download {package} {version}", 900, REGISTRY_HINT)
        (archive,) = work.glob("*.tar.gz" if asked.source else "*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        for wanted in (file for registry in REGISTRIES for file in registry.values()):
            if (wanted.package, wanted.version) == (package, version):
                _extract_member(archive, wanted, work, folder)


def _extract_member(archive: Path, wanted: PackageFile, work: Path, folder: Path) -> None:
    partial_file = work / wanted.file_name
    with open(partial_file, "wb") as out:
        try:
            if archive.suffix == ".whl":
                with zipfile.ZipFile(archive) as wheel, wheel.open(wanted.member) as member:
                    shutil.copyfileobj(member, out)
            else:
                with tarfile.open(archive) as sources:
                    out.write(_tar_member(sources, wanted.member))
        except KeyError as error:
            raise ZooError(f"{archive.name} holds no file {wanted.member}: was it replaced in the registry?") from error
    if wanted.inner:
        with zipfile.ZipFile(partial_file) as inside:
            content = inside.read(wanted.inner)
        partial_file.write_bytes(content)
    found = hashlib.sha256(partial_file.read_bytes()).hexdigest()
    if found != wanted.sha256:
        raise ZooError(
            f"{wanted.member} of {archive.name} has sha256 {found}, pinned is {wanted.sha256}: "
            "the registry serves another file under this version; do not use it before somebody has looked at it"
        )
    partial_file.replace(folder / partial_file.name)


def _tar_member(sources: tarfile.TarFile, name: str) -> bytes:
    stream = sources.extractfile(name)
    if stream is None:
        raise KeyError(name)
    with stream:
        return stream.read()


_OCR = "rapidocr_onnxruntime/models"
PACKAGE_FILES: dict[str, PackageFile] = {
    "ppocr_det": PackageFile(
        "rapidocr-onnxruntime",
        "1.4.4",
        f"{_OCR}/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    ),
    "ppocr_rec": PackageFile(
        "rapidocr-onnxruntime",
        "1.4.4",
        f"{_OCR}/ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
    ),
    "ppocr_cls": PackageFile(
        "rapidocr-onnxruntime",
        "1.4.4",
        f"{_OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    ),
    "magika": PackageFile(
        "magika",
        "1.0.3",
        "magika/models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
    ),
    "basic_pitch": PackageFile(
        "basic-pitch",
        "0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
    ),
}

REGISTRIES: list[dict[str, PackageFile]] = [PACKAGE_FILES]
"""Everything that is wanted of packages: one download serves all files of a package."""


# ------------------------------------------------------------------------------------------- models that are made here
TORCH_REQUIREMENTS = ("torch==2.13.0", "onnxscript==0.7.2", "onnx==1.23.2", "numpy")  # numpy: what this Python has
TORCH_HINT = (
    "The environment needs about 1 GB and the package registry (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL and "
    "PIP_FIND_LINKS apply: a registry of CPU builds saves several GB of CUDA libraries)."
)


def _source_key(*files: str) -> str:
    """Hash source files beside this one: a model made by other code is another model."""
    digest = hashlib.sha256()
    for name in files:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:12]


def _torch_python() -> Path:
    """Return the interpreter of the cached virtual environment that has torch, creating it when missing."""
    key = hashlib.sha256(" ".join((*TORCH_REQUIREMENTS, sys.version, sys.base_exec_prefix)).encode()).hexdigest()[:12]
    folder = cache_dir() / "venvs" / f"torch-{key}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    ready = folder / "ready"  # written last: an interrupted installation is started again
    if ready.exists():
        return python
    with locked(f"venv-torch-{key}"):
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(folder)], "venv could not create the torch environment", 300, "")
            install = [str(python), "-m", "pip", "install", "-q", *TORCH_REQUIREMENTS]
            _run(install, f"pip could not install {TORCH_REQUIREMENTS[0]}", 3600, TORCH_HINT)
            ready.touch()
    return python


def _export(name: str) -> Path:
    """Return the PyTorch model `name` as ONNX, exporting it when the cache has none of the present source."""
    key = _source_key("zoo_export.py", "zoo_feeds.py")
    target = cache_dir() / "torch" / f"{name}-{key}" / f"{name}.onnx"
    if target.exists():
        return target
    python = _torch_python()
    with locked(f"torch-{name}-{key}"):
        if not target.exists():
            _export_to(python, name, target)
    return target


def _export_to(python: Path, name: str, target: Path) -> None:
    with _workspace() as work:
        feeds = models()[name].calibration(16)
        samples = {key: np.concatenate([feed[key] for feed in feeds]) for key in feeds[0]}
        np.savez(work / "samples.npz", **samples)  # type: ignore[arg-type]  # numpy types **kwargs as one union
        script = Path(__file__).with_name("zoo_export.py")
        result = work / "result"
        result.mkdir()
        out = result / f"{name}.onnx"
        command = [str(python), str(script), name, str(out), "--samples", str(work / "samples.npz")]
        _run(command, f"the export of {name} from PyTorch failed", 900, f"Run `{' '.join(command)}` to see more.")
        target.parent.mkdir(parents=True, exist_ok=True)
        for file in sorted(
            result.iterdir(), reverse=True
        ):  # the reference before the model, which is what is tested for
            file.replace(target.parent / file.name)


def torch_reference(name: str) -> tuple[Feeds, Feeds]:
    """Return the inputs and PyTorch's own outputs, by name, of one sample of an exported model (`yolo`, `bert`)."""
    inputs: Feeds = {}
    outputs: Feeds = {}
    with np.load(_export(name).with_suffix(".reference.npz"), allow_pickle=False) as archive:
        for key in archive.files:
            kind, _, tensor = key.partition(":")
            (inputs if kind == "input" else outputs)[tensor] = archive[key]
    return inputs, outputs


def _light(name: str) -> Path:
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"light_{name}.onnx"
    if not path.exists():
        raise ZooError(f"onnx {onnx.__version__} ships no {path.name} any more: pin a version that does")
    return path


def _real(name: str) -> Path:
    """Return the topology of `light_<name>` with real random weights, building the file when it is missing."""
    target = cache_dir() / "built" / f"{name}_real-{_source_key('zoo_weights.py')}.onnx"
    if target.exists():
        return target
    with locked(f"{name}_real"), _workspace() as work:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            onnx.save(zoo_weights.materialise(onnx.load(_light(name)), seed=50), work / "model.onnx")
            (work / "model.onnx").replace(target)
    return target


# ---------------------------------------------------------------------------------------------------------- the models
LIGHT_INPUTS = {
    "bvlc_alexnet": "data_0",
    "densenet121": "data_0",
    "inception_v1": "data_0",
    "inception_v2": "data_0",
    "resnet50": "gpu_0/data_0",
    "shufflenet": "gpu_0/data_0",
    "squeezenet": "data_0",
    "vgg19": "data_0",
    "zfnet512": "gpu_0/data_0",
}
REAL = (
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
)  # others: 230 MiB and more
YOLO_SIZE = 320
BERT_VOCABULARY, BERT_LENGTH = 4096, 64


def _one(name: str, draw: Callable[[np.random.Generator], npt.NDArray[np.generic]], rng: np.random.Generator) -> Feeds:
    return {name: draw(rng)}


def _sentences(rng: np.random.Generator) -> Feeds:
    return dict(zoo_feeds.sentences(rng, 1, BERT_LENGTH, BERT_VOCABULARY))


def _light_models() -> Iterator[ZooModel]:
    image = (1, 3, 224, 224)
    for name, tensor in LIGHT_INPUTS.items():
        draw = partial(_one, tensor, zoo_feeds.imagenet_image)
        origin = f"onnx {onnx.__version__}, backend test data"
        tags = frozenset({"light", "image"})
        yield ZooModel(f"light_{name}", "Apache-2.0", origin, {tensor: image}, tags, partial(_light, name), draw)
    for name in REAL:
        tensor = LIGHT_INPUTS[name]
        draw = partial(_one, tensor, zoo_feeds.imagenet_image)
        origin = f"light_{name} with random weights (tests/zoo_weights.py)"
        tags = frozenset({"real", "image"} | ({"large"} if name == "resnet50" else set[str]()))
        yield ZooModel(f"{name}_real", "Apache-2.0", origin, {tensor: image}, tags, partial(_real, name), draw)


def _package_models() -> Iterator[ZooModel]:
    det = ((1, 3, 192, 384), partial(zoo_feeds.page, height=192, width=384))
    rec = ((1, 3, zoo_feeds.LINE_HEIGHT, 320), partial(zoo_feeds.text_line, width=320, names="*_0.png"))
    cls = ((1, 3, zoo_feeds.LINE_HEIGHT, 192), partial(zoo_feeds.text_line, width=192))
    pitch = ((1, 43844, 1), partial(zoo_feeds.notes, samples=43844))
    table: list[tuple[str, str, str, tuple[int, ...], Callable[[np.random.Generator], npt.NDArray[np.generic]]]] = [
        ("ppocr_det", "image", "x", *det),
        ("ppocr_rec", "image", "x", *rec),
        ("ppocr_cls", "image", "x", *cls),
        ("magika", "bytes", "bytes", (1, 2048), zoo_feeds.file_bytes),
        ("basic_pitch", "audio", "serving_default_input_2:0", *pitch),
    ]
    for name, kind, tensor, shape, draw in table:
        file = PACKAGE_FILES[name]
        tags = frozenset({"package", "dynamic", kind})
        origin = f"{file.package} {file.version}"
        yield ZooModel(name, "Apache-2.0", origin, {tensor: shape}, tags, file.fetch, partial(_one, tensor, draw))


def _torch_models() -> Iterator[ZooModel]:
    origin = f"exported from {TORCH_REQUIREMENTS[0]} (tests/zoo_export.py), random weights"
    yield ZooModel(
        "yolo",
        "Apache-2.0",
        origin,
        {"images": (1, 3, YOLO_SIZE, YOLO_SIZE)},
        frozenset({"torch", "image"}),
        partial(_export, "yolo"),
        partial(_one, "images", partial(zoo_feeds.unit_image, height=YOLO_SIZE, width=YOLO_SIZE)),
    )
    shape = (1, BERT_LENGTH)
    yield ZooModel(
        "bert",
        "Apache-2.0",
        origin,
        {"input_ids": shape, "attention_mask": shape, "token_type_ids": shape},
        frozenset({"torch", "dynamic", "text"}),
        partial(_export, "bert"),
        _sentences,
    )


@cache
def _models() -> Mapping[str, ZooModel]:
    return {model.name: model for source in (_light_models, _package_models, _torch_models) for model in source()}


def models() -> dict[str, ZooModel]:
    """Return every model of the zoo by name, in a fixed order; nothing is fetched by this."""
    return dict(_models())


# -------------------------------------------------------------------------------------------------------- command line
def describe(model: ZooModel) -> str:
    """Return two lines about a fetched model: opset, size, node count, and how often each operator occurs."""
    proto = onnx.load(model.path, load_external_data=False)
    counts = Counter(f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in proto.graph.node)
    opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    size = model.path.stat().st_size / 2**20
    histogram = " ".join(f"{name}:{count}" for name, count in sorted(counts.items()))
    return f"{model.name}: opset {opset}, {size:.1f} MiB, {counts.total()} nodes\n  {histogram}"


def main(arguments: list[str] | None = None) -> int:
    """List or fetch models; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description="The models that UAIR is tested on.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="name, tags, shapes and origin of every model")
    action.add_argument("--fetch", action="store_true", help="fill the cache and print the operators of each model")
    parser.add_argument("--skip", metavar="TAG", action="append", default=[], help="leave out the models with this tag")
    parser.add_argument("names", nargs="*", help="only these models")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(models()):
        parser.error(f"no model is called {', '.join(sorted(unknown))}; there are {', '.join(models())}")
    for model in models().values():
        if (options.names and model.name not in options.names) or model.tags & set(options.skip):
            continue
        if options.list:
            shapes = " ".join(f"{name}={list(shape)}" for name, shape in model.shapes.items())
            sys.stdout.write(f"{model.name:20} {','.join(sorted(model.tags)):22} {shapes}  [{model.origin}]\n")
            continue
        try:
            sys.stdout.write(describe(model) + "\n")
        except ZooError as error:
            sys.stderr.write(f"error: {model.name}: {error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
