"""How far a quantized model's outputs are from the float model's, and what that means to its user."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# numpy's own annotations leave type arguments open.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Outputs = Sequence[Array]
"""`[samples, ...]` for every output of the model, in its order."""


def sqnr(reference: Outputs, found: Outputs) -> float:
    """Signal to quantization noise in dB over all outputs and samples: 10 log10(sum f^2 / sum (f - q)^2)."""
    signal = sum(float(np.square(f, dtype=np.float64).sum()) for f in reference)
    noise = sum(
        float(np.square(f - q.reshape(f.shape), dtype=np.float64).sum()) for f, q in zip(reference, found, strict=True)
    )
    return 10 * float(np.log10(signal / max(noise, 1e-30)))


def cosine(reference: Outputs, found: Outputs) -> float:
    """Mean over outputs and samples of the cosine similarity."""
    values: list[float] = []
    for f, q in zip(reference, found, strict=True):
        a, b = (x.reshape(len(f), -1).astype(np.float64) for x in (f, q))
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        values.append(float(np.mean((a * b).sum(axis=1) / np.maximum(lengths, 1e-30))))
    return float(np.mean(values))


def classes(outputs: Outputs, reference: Outputs, truth: Mapping[str, Any]) -> float:
    """Share of samples with the right class; with the float model's class where there are no labels."""
    predicted = outputs[0].reshape(len(outputs[0]), -1).argmax(axis=1)
    labels = truth.get("label")
    if labels is None:
        labels = reference[0].reshape(len(reference[0]), -1).argmax(axis=1)
    known = labels >= 0
    return float((predicted == labels)[known].mean())


def lines(outputs: Outputs, reference: Outputs, truth: Mapping[str, Any]) -> float:
    """Share of text lines that are read without an error, spaces aside (CTC: repetitions and class 0 are dropped)."""
    del reference
    right = 0
    for scores, text in zip(outputs[0], truth["text"], strict=True):
        best = scores.argmax(axis=-1)
        kept = best[np.flatnonzero(np.diff(best, prepend=-1))]
        read = "".join(truth["chars"][c] if c < len(truth["chars"]) else "?" for c in kept if c)
        right += read.replace(" ", "") == str(text).replace(" ", "")
    return right / len(outputs[0])


def mask(outputs: Outputs, reference: Outputs, truth: Mapping[str, Any]) -> float:
    """Intersection over union with the float model's mask."""
    threshold = truth.get("thr", 0.3)
    f, q = reference[0] > threshold, outputs[0] > threshold
    return float((f & q).sum() / max(1, (f | q).sum()))


def neighbours(outputs: Outputs, reference: Outputs, truth: Mapping[str, Any]) -> float:
    """Share of samples whose nearest other sample, by cosine of the last output, is the float model's."""
    del truth
    found: list[Array] = []
    for output in (outputs[-1], reference[-1]):
        flat = output.reshape(len(output), -1).astype(np.float64)
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)
        similarity = flat @ flat.T
        np.fill_diagonal(similarity, -2)
        found.append(similarity.argmax(axis=1))
    return float((found[0] == found[1]).mean())


def boxes(outputs: Outputs, reference: Outputs, truth: Mapping[str, Any]) -> float:
    """F1 of a YOLOv8 detector's boxes against the float model's: same class, overlap of at least a half."""
    threshold = truth.get("thr", 0.25)
    hits = total = 0
    for f, q in zip(reference[0], outputs[0], strict=True):
        wanted, found = _kept_boxes(f, threshold), _kept_boxes(q, threshold)
        total += len(wanted) + len(found)
        free = list(range(len(found)))
        for kind, corners in wanted:
            overlaps = [(_overlap(corners, found[i][1][None])[0], i) for i in free if found[i][0] == kind]
            if overlaps and max(overlaps)[0] > 0.5:
                hits += 1
                free.remove(max(overlaps)[1])
    return 2 * hits / max(1, total)


def _kept_boxes(prediction: Array, threshold: float) -> list[tuple[int, Array]]:
    """(class, corners) after non-maximum suppression; `prediction`: `[4 + classes, anchors]`, centre and size first."""
    centre, size, scores = prediction[:2].T, prediction[2:4].T, prediction[4:].T
    kept = np.flatnonzero(scores.max(axis=1) > threshold)
    kept = kept[scores[kept].max(axis=1).argsort()[::-1]]
    corners, kinds = np.concatenate([centre - size / 2, centre + size / 2], axis=1), scores.argmax(axis=1)
    result: list[tuple[int, Array]] = []
    while len(kept):
        first, kept = kept[0], kept[1:]
        result.append((int(kinds[first]), corners[first]))
        same = (kinds[kept] == kinds[first]) & (_overlap(corners[first], corners[kept]) > 0.5)
        kept = kept[~same]
    return result


def _overlap(box: Array, others: Array) -> Array:
    """Intersection over union of a box with others, by corners."""
    sides = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None)
    shared = sides.prod(axis=1)
    areas = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1)
    return np.asarray(shared / (areas - shared + 1e-9))


TASKS: Mapping[str, Callable[[Outputs, Outputs, Mapping[str, Any]], float]] = {
    "classes": classes,
    "lines": lines,
    "mask": mask,
    "neighbours": neighbours,
    "boxes": boxes,
}
