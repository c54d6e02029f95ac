"""Realistic inputs for the models of the zoo: images, text lines, audio, file bytes, token ids.

Every function draws from a `numpy.random.Generator` and from nothing else, so that a seed names its input. Values have
the range that the model sees in use: a quantization range or a numeric comparison on white noise says little.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# numpy's and onnx's own annotations leave type arguments open, and onnxruntime has none.

from __future__ import annotations

import io
import json
import math
import wave
import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

F32 = npt.NDArray[np.float32]
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LINE_HEIGHT = 48  # rows that both text models of PP-OCR expect

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)


def photo(rng: np.random.Generator, height: int, width: int) -> F32:
    """Return a synthetic photograph, f32 `[3, height, width]` in 0..1.

    The spectrum falls with frequency as in natural images (octaves of smoothed noise, the channels correlated), and a
    few flat rectangles add the edges and uniform areas that noise lacks.
    """
    image = np.zeros((3, height, width), np.float32)
    for octave in range(1, 7):
        cells = 2**octave
        shared = rng.standard_normal((1, cells, cells))
        grids = (shared + 0.5 * rng.standard_normal((3, cells, cells))).astype(np.float32)
        for channel, grid in zip(image, grids, strict=True):
            channel += _upsample(grid, height, width) / cells**0.8
    image = 0.5 + 0.22 * (image - image.mean()) / image.std()
    for _ in range(4):
        top, left = int(rng.integers(0, height - height // 4)), int(rng.integers(0, width - width // 4))
        bottom, right = top + int(rng.integers(4, height // 4)), left + int(rng.integers(4, width // 4))
        image[:, top:bottom, left:right] = rng.random((3, 1, 1))
    return np.asarray(np.clip(image, 0, 1), np.float32)


def _upsample(grid: F32, height: int, width: int) -> F32:
    resized = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32)


def imagenet_image(rng: np.random.Generator, height: int = 224, width: int = 224) -> F32:
    """Return a synthetic photograph normalised with the ImageNet mean and deviation, f32 `[1, 3, height, width]`."""
    return ((photo(rng, height, width) - IMAGENET_MEAN) / IMAGENET_STD)[None]


def unit_image(rng: np.random.Generator, height: int, width: int) -> F32:
    """Return a synthetic photograph in 0..1 as YOLO-style detectors take it, f32 `[1, 3, height, width]`."""
    return photo(rng, height, width)[None]


def load_bgr(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image file as u8 `[height, width, 3]` in BGR order."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.uint8)[:, :, ::-1]


def preprocess_text_line(image: npt.NDArray[np.uint8], width: int) -> F32:
    """Turn a BGR text line into the input of PP-OCR's classifier and recogniser (examples/README.md).

    Args:
        image: u8 `[h, w, 3]`, BGR.
        width: width of the result; a line that is longer at height 48 is squeezed, a shorter one padded with zeros.

    Returns:
        f32 `[1, 3, 48, width]`, -1..1.
    """
    height, length = image.shape[:2]
    resized_width = min(width, math.ceil(LINE_HEIGHT * length / height))
    resized = Image.fromarray(image).resize((resized_width, LINE_HEIGHT), Image.Resampling.BILINEAR)
    result = np.zeros((1, 3, LINE_HEIGHT, width), np.float32)
    result[0, :, :, :resized_width] = (np.asarray(resized, np.float32) / 255 - 0.5).transpose(2, 0, 1) / 0.5
    return result


def text_line(rng: np.random.Generator, width: int, names: str = "*.png") -> F32:
    """Return one of the example lines, slightly cropped and with changed contrast, f32 `[1, 3, 48, width]`.

    `names` chooses among the files: `*_0.png` are the upright lines.
    """
    paths = sorted((EXAMPLES / "images" / "calibration").glob(names))
    image = load_bgr(paths[int(rng.integers(len(paths)))])
    left, right = int(rng.integers(0, 4)), image.shape[1] - int(rng.integers(0, 4))
    return preprocess_text_line(_expose(rng, image[:, left:right]), width)


def page(rng: np.random.Generator, height: int, width: int) -> F32:
    """Return the photographed example page for a text detector, f32 `[1, 3, height, width]`, -1..1.

    The page is moved by some pixels and its exposure changed; what the page does not cover repeats its border.
    """
    image = _expose(rng, load_bgr(EXAMPLES / "images" / "page.png"))
    top, left = int(rng.integers(0, 8)), int(rng.integers(0, 8))
    rows = np.clip(np.arange(height) - top, 0, image.shape[0] - 1)
    columns = np.clip(np.arange(width) - left, 0, image.shape[1] - 1)
    moved = image[rows][:, columns].astype(np.float32)
    return np.ascontiguousarray(((moved / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None])


def _expose(rng: np.random.Generator, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    gain, offset = rng.uniform(0.8, 1.1), rng.uniform(-10, 20)
    noisy = image * gain + offset + rng.normal(0, 2, (*image.shape[:2], 1))
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


def notes(rng: np.random.Generator, samples: int, rate: int = 22050) -> F32:
    """Return music at `rate` Hz, f32 `[1, samples, 1]`, -1..1: decaying harmonic notes over a noise floor."""
    time = np.arange(samples) / rate
    audio = 0.002 * rng.standard_normal(samples)
    for _ in range(6):
        frequency = 440.0 * 2.0 ** ((int(rng.integers(40, 80)) - 69) / 12)  # equal temperament, A4 = MIDI note 69
        local = time - rng.uniform(0, time[-1] * 0.8)
        envelope = np.where(local >= 0, np.exp(-3.0 * np.maximum(local, 0)), 0.0) * rng.uniform(0.3, 1.0)
        for harmonic in range(1, 6):
            audio += envelope * np.sin(2 * np.pi * harmonic * frequency * local) / harmonic**1.5
    return np.asarray(0.8 * audio / np.abs(audio).max(), np.float32).reshape(1, samples, 1)


def file_bytes(rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Return the first and the last 1,024 bytes of a made-up file as magika 1.0 reads it, i32 `[1, 2048]`, 0..256.

    White space is stripped at both ends; token 256 pads what a short file lacks (after the head, before the tail).
    """
    makers = (_csv_file, _json_file, _html_file, _python_file, _zip_file, _wav_file, _zlib_file)
    content = makers[int(rng.integers(len(makers)))](rng).strip()
    head, tail = np.full(1024, 256, np.int32), np.full(1024, 256, np.int32)
    first, last = content[:1024], content[-1024:]
    head[: len(first)] = np.frombuffer(first, np.uint8)
    tail[1024 - len(last) :] = np.frombuffer(last, np.uint8)
    return np.concatenate([head, tail])[None]


def _words(rng: np.random.Generator, count: int) -> list[str]:
    syllables = ("ka", "lo", "mi", "ren", "su", "ta", "vor", "en", "dis", "per", "al", "on")
    return ["".join(syllables[int(i)] for i in rng.integers(len(syllables), size=3)) for _ in range(count)]


def _csv_file(rng: np.random.Generator) -> bytes:
    rows = (f"{i},{word},{rng.normal():.4f},{int(rng.integers(1000))}" for i, word in enumerate(_words(rng, 120)))
    return ("id,name,value,count\n" + "\n".join(rows)).encode()


def _json_file(rng: np.random.Generator) -> bytes:
    records = [
        {"name": word, "score": round(float(rng.random()), 3), "tags": _words(rng, 2)} for word in _words(rng, 40)
    ]
    return json.dumps({"records": records}, indent=2).encode()


def _html_file(rng: np.random.Generator) -> bytes:
    body = "\n".join(f'<p class="{word}">{word} <a href="/{word}">{word}</a></p>' for word in _words(rng, 40))
    head = f"<head><title>{_words(rng, 1)[0]}</title></head>"
    return f"<!DOCTYPE html>\n<html>{head}\n<body>\n{body}\n</body></html>".encode()


def _python_file(rng: np.random.Generator) -> bytes:
    names = _words(rng, 24)
    functions = (
        f"def {name}(self, value: int = {i}) -> int:\n    return self.{name} + value * {i}\n"
        for i, name in enumerate(names)
    )
    return ("import os\nimport sys\n\n\n" + "\n\n".join(functions)).encode()


def _zip_file(rng: np.random.Generator) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for word in _words(rng, 8):
            archive.writestr(zipfile.ZipInfo(f"{word}.txt", (2020, 1, 1, 0, 0, 0)), " ".join(_words(rng, 60)))
    return stream.getvalue()


def _wav_file(rng: np.random.Generator) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(22050)
        audio.writeframes((notes(rng, 4096).ravel() * 32767).astype("<i2").tobytes())
    return stream.getvalue()


def _zlib_file(rng: np.random.Generator) -> bytes:
    return zlib.compress(" ".join(_words(rng, 900)).encode())


def sentences(rng: np.random.Generator, batch: int, length: int, vocabulary: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return a BERT batch: `input_ids`, `attention_mask`, `token_type_ids`, each i64 `[batch, length]`.

    Ids follow a Zipf-like law over `vocabulary`; each row has its own length, is padded with id 0 under mask 0, and
    is cut in two segments.
    """
    positions = np.arange(length)
    used = rng.integers(length // 2, length + 1, (batch, 1))
    border = rng.integers(length // 4, length // 2, (batch, 1))
    mask = positions < used
    ids = np.minimum(np.floor(vocabulary ** rng.random((batch, length))), vocabulary - 1).astype(np.int64)
    return {
        "input_ids": np.where(mask, ids, 0),
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": ((positions >= border) & mask).astype(np.int64),
    }
