"""A trained detector for the INT8 benchmark: `python -m bench.int8.detector FOLDER`, in an environment with torch.

No package brings a YOLO with its weights, and random ones cannot be measured: their scores lie around the threshold. So
the network of tests/zoo_export.py learns to find rectangles and ellipses before textured backgrounds. Boxes
in pixels (0 to 96) and scores (0 to 1) leave it in one tensor, as in YOLOv8: one scale for both costs the scores.
FOLDER/shapes_yolo gets what bench.int8_accuracy reads: float.onnx, calib.npz, test.npz, meta.json.
"""

# torch is absent from the environment that is type-checked: what derives from it is untyped there.
# mypy: disable-error-code="import-not-found,misc,no-any-return,unused-ignore"
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from tests.zoo_export import OPSET, Yolo

SIZE, KINDS = 96, 2
STEPS, BATCH, RATE = 2000, 8, 2e-3
LEVELS = (20.0, 40.0)
"""Longest sides of boxes that the two finer grids are to find."""


def picture(rng: np.random.Generator) -> tuple[Any, list[tuple[int, tuple[float, float, float, float]]]]:
    """An image u8 `[3, 96, 96]`, and (kind, corners) of the one to three shapes in it."""
    coarse = rng.integers(0, 256, (int(rng.integers(2, 5)), int(rng.integers(2, 5)), 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    shapes: list[tuple[int, tuple[float, float, float, float]]] = []
    for _ in range(int(rng.integers(1, 4))):
        width, height = rng.uniform(12, 56, 2)
        left, top = rng.uniform(0, SIZE - width), rng.uniform(0, SIZE - height)
        corners = (float(left), float(top), float(left + width), float(top + height))
        if any(_overlap(corners, other) > 0.1 for _, other in shapes):
            continue
        kind, colour = int(rng.integers(KINDS)), tuple(int(c) for c in rng.integers(0, 256, 3))
        if kind == 0:
            draw.rectangle(corners, fill=colour)
        else:
            draw.ellipse(corners, fill=colour)
        shapes.append((kind, corners))
    noisy = np.asarray(image, np.float32) + rng.normal(0, 4, (SIZE, SIZE, 1))
    return np.clip(noisy, 0, 255).astype(np.uint8).transpose(2, 0, 1), shapes


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Shared area by the smaller one."""
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return max(width, 0) * max(height, 0) / min(areas)


def loss(model: Yolo, images: Tensor, shapes: list[Any]) -> Tensor:
    """Scores by cross entropy at every anchor; boxes by generalised overlap at those in the middle of a shape."""
    found = model(images)
    centres = (model.detect.anchors * model.detect.strides)[0].T
    wanted = torch.zeros(len(images), KINDS, found.shape[2])
    errors = []
    for i, of_image in enumerate(shapes):
        for kind, corners in of_image:
            longest = max(corners[2] - corners[0], corners[3] - corners[1])
            stride = model.detect.STRIDES[sum(longest > limit for limit in LEVELS)]
            box = torch.tensor(corners)
            middle, reach = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).clamp(min=2.0 * stride) / 4
            inside = ((centres - middle).abs() < reach).all(1) & (model.detect.strides[0] == stride).view(-1)
            wanted[i, kind, inside] = 1.0
            errors.append(1 - _generalised_overlap(found[i, :4, inside].T, box))
    scores = found[:, 4:].clamp(1e-6, 1 - 1e-6)
    weight = torch.where(wanted > 0, 1.0, scores.detach() ** 2)  # most anchors are background, and easy
    count = max(1.0, float(wanted.sum()))
    boxes = torch.cat(errors).sum() if errors else found.new_zeros(())
    return (nn.functional.binary_cross_entropy(scores, wanted, weight, reduction="sum") + 2 * boxes) / count


def _generalised_overlap(found: Tensor, box: Tensor) -> Tensor:
    low, high = found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2
    shared = (torch.minimum(high, box[2:]) - torch.maximum(low, box[:2])).clamp(min=0).prod(1)
    joined = (high - low).prod(1) + (box[2:] - box[:2]).prod() - shared
    hull = (torch.maximum(high, box[2:]) - torch.minimum(low, box[:2])).prod(1)
    return shared / joined - (hull - joined) / hull


def train(steps: int) -> Yolo:
    """The detector after so many steps."""
    torch.manual_seed(0)
    rng = np.random.default_rng(1)
    model = Yolo(KINDS, SIZE)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.03
    for branch in model.detect.score:
        nn.init.constant_(branch[-1].bias, -4.0)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    model.train()
    for step in range(steps):
        drawn = [picture(rng) for _ in range(BATCH)]
        images = torch.from_numpy(np.stack([image for image, _ in drawn])).float() / 255
        value = loss(model, images, [shapes for _, shapes in drawn])
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0:
            print(f"step {step} of {steps}: loss {value.item():.3f}", flush=True)
    return model.eval()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    folder = options.folder / "shapes_yolo"
    folder.mkdir(parents=True, exist_ok=True)
    model = train(options.steps)
    example = torch.zeros(1, 3, SIZE, SIZE)
    torch.onnx.export(
        model, (example,), str(folder / "float.onnx"), input_names=["images"], output_names=["predictions"],
        opset_version=OPSET, dynamo=False,
    )  # fmt: skip
    rng = np.random.default_rng(2)
    for name, count in (("calib", 64), ("test", 100)):
        np.savez_compressed(folder / f"{name}.npz", images=np.stack([picture(rng)[0] for _ in range(count)]))
    meta = {"task": "yolov8", "mean": [0.0] * 3, "std": [255.0] * 3, "thr": 0.25}
    (folder / "meta.json").write_text(json.dumps(meta) + "\n", encoding="utf-8")
    with torch.no_grad():
        found = model(torch.from_numpy(np.stack([picture(rng)[0] for _ in range(8)])).float() / 255)
    print(f"greatest scores of eight pictures: {found[:, 4:].amax((1, 2)).tolist()}")
    assert math.isfinite(float(found.sum()))


if __name__ == "__main__":
    main()
