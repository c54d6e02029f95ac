"""Export the zoo's PyTorch models: run as a child process by the interpreter of an environment that has torch.

`python zoo_export.py yolo|bert OUT.onnx --samples SAMPLES.npz`: builds the network with seeded random weights, settles
its normalisation statistics on the samples, exports it through torch.export, and writes beside it `OUT.reference.npz`
(the inputs of sample 0 and what PyTorch answers to them). Nothing of the project is imported here.

Random weights can make a test blind (a head filled with zeros, a saturated sigmoid: every comparison passes), so every
output must vary within a sample and between samples; an export that does not exits with status 1 and writes nothing.
"""

# torch is absent from the environment that is type-checked: what derives from it is untyped there.
# mypy: disable-error-code="import-not-found,misc,no-any-return,unused-ignore"
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

OPSET = 18


# ---------------------------------------------------------------------------------------------------------------- YOLO
class ConvBlock(nn.Module):
    """Convolution without bias, BatchNorm, SiLU; "same" padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=None)  # None: plain mean over the settling batches
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Bottleneck(nn.Module):
    """Two 3x3 blocks, with a residual connection when `residual`."""

    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels, 3)
        self.second = ConvBlock(channels, channels, 3)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        return x + y if self.residual else y


class C2f(nn.Module):
    """Cross-stage partial block of YOLOv8: split, a chain of bottlenecks, every intermediate result concatenated."""

    def __init__(self, inputs: int, outputs: int, depth: int, residual: bool) -> None:
        super().__init__()
        self.half = outputs // 2
        self.enter = ConvBlock(inputs, 2 * self.half)
        self.blocks = nn.ModuleList(Bottleneck(self.half, residual) for _ in range(depth))
        self.leave = ConvBlock((2 + depth) * self.half, outputs)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).split(self.half, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class SPPF(nn.Module):
    """Spatial pyramid pooling: three chained 5x5 max-pools, concatenated with their input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter = ConvBlock(inputs, inputs // 2)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = ConvBlock(inputs * 2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.enter(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.leave(torch.cat(parts, 1))


class Detect(nn.Module):
    """Anchor-free head with decoding inside: box distances as distributions (DFL), class scores by sigmoid.

    Output `[N, 4 + classes, anchors]`: centre x, centre y, width, height in pixels, then the scores.
    """

    BINS = 16
    STRIDES = (8, 16, 32)
    anchors: Tensor
    strides: Tensor
    bins: Tensor

    def __init__(self, channels: tuple[int, int, int], classes: int, size: int) -> None:
        super().__init__()
        self.classes = classes
        box_width, class_width = max(16, channels[0] // 4, 4 * self.BINS), max(channels[0], min(classes, 100))
        self.box = nn.ModuleList(self._branch(c, box_width, 4 * self.BINS) for c in channels)
        self.score = nn.ModuleList(self._branch(c, class_width, classes) for c in channels)
        centres, strides = [], []
        for stride in self.STRIDES:
            axis = torch.arange(size // stride, dtype=torch.float32) + 0.5
            rows, columns = torch.meshgrid(axis, axis, indexing="ij")
            centres.append(torch.stack((columns.flatten(), rows.flatten())))
            strides.append(torch.full((1, len(axis) ** 2), float(stride)))
        self.register_buffer("anchors", torch.cat(centres, 1)[None])
        self.register_buffer("strides", torch.cat(strides, 1)[None])
        self.register_buffer("bins", torch.arange(self.BINS, dtype=torch.float32).view(1, self.BINS, 1, 1))

    @staticmethod
    def _branch(inputs: int, width: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(ConvBlock(inputs, width, 3), ConvBlock(width, width, 3), nn.Conv2d(width, outputs, 1))

    def forward(self, features: list[Tensor]) -> Tensor:
        joined = [
            torch.cat((box(x), score(x)), 1).flatten(2)
            for box, score, x in zip(self.box, self.score, features, strict=True)
        ]
        box, score = torch.cat(joined, 2).split((4 * self.BINS, self.classes), 1)
        distribution = box.view(box.shape[0], 4, self.BINS, -1).transpose(2, 1).softmax(1)
        left_top, right_bottom = nn.functional.conv2d(distribution, self.bins).squeeze(1).chunk(2, 1)
        low, high = self.anchors - left_top, self.anchors + right_bottom
        boxes = torch.cat(((low + high) / 2, high - low), 1) * self.strides
        return torch.cat((boxes, score.sigmoid()), 1)


class Yolo(nn.Module):
    """YOLOv8-style detector of "nano" width: backbone with C2f and SPPF, top-down and bottom-up neck, `Detect`."""

    def __init__(self, classes: int = 80, size: int = 320) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvBlock(3, 16, 3, 2), ConvBlock(16, 32, 3, 2), C2f(32, 32, 1, True))
        self.stage3 = nn.Sequential(ConvBlock(32, 64, 3, 2), C2f(64, 64, 2, True))
        self.stage4 = nn.Sequential(ConvBlock(64, 128, 3, 2), C2f(128, 128, 2, True))
        self.stage5 = nn.Sequential(ConvBlock(128, 256, 3, 2), C2f(256, 256, 1, True), SPPF(256, 256))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.top4, self.top3 = C2f(256 + 128, 128, 1, False), C2f(128 + 64, 64, 1, False)
        self.down3, self.down4 = ConvBlock(64, 64, 3, 2), ConvBlock(128, 128, 3, 2)
        self.bottom4, self.bottom5 = C2f(64 + 128, 128, 1, False), C2f(128 + 256, 256, 1, False)
        self.detect = Detect((64, 128, 256), classes, size)

    def forward(self, images: Tensor) -> Tensor:
        p3 = self.stage3(self.stem(images))
        p4 = self.stage4(p3)
        p5 = self.stage5(p4)
        n4 = self.top4(torch.cat((self.upsample(p5), p4), 1))
        n3 = self.top3(torch.cat((self.upsample(n4), p3), 1))
        m4 = self.bottom4(torch.cat((self.down3(n3), n4), 1))
        m5 = self.bottom5(torch.cat((self.down4(m4), p5), 1))
        return self.detect([n3, m4, m5])


def build_yolo(samples: list[dict[str, Tensor]]) -> nn.Module:
    """Return the detector with statistics settled on the samples and scores spread around 0.1."""
    model = Yolo()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.4)
            nn.init.normal_(module.bias, 0.0, 0.3)
    for box, score in zip(model.detect.box, model.detect.score, strict=True):
        nn.init.normal_(box[-1].bias, 0.0, 1.0)
        nn.init.normal_(score[-1].bias, -2.2, 0.8)
    model.train()
    with torch.no_grad():
        for start in range(0, len(samples), 4):
            model(torch.cat([sample["images"] for sample in samples[start : start + 4]]))
    return model


# ---------------------------------------------------------------------------------------------------------------- BERT
class SelfAttention(nn.Module):
    """Multi-head self-attention from plain linear layers, with an additive mask `[N, 1, 1, length]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.depth = heads, width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, self.depth).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self._split(self.query(x)), self._split(self.key(x)), self._split(self.value(x))
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.depth) + mask
        mixed = (scores.softmax(-1) @ value).transpose(1, 2)
        return self.output(mixed.reshape(x.shape))


class EncoderLayer(nn.Module):
    """Post-norm transformer layer: attention, then a feed-forward network with the exact (erf) GELU."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attention, self.norm1 = SelfAttention(width, heads), nn.LayerNorm(width, eps=1e-12)
        self.enter, self.gelu, self.leave = nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x, mask))
        return self.norm2(x + self.leave(self.gelu(self.enter(x))))


class Bert(nn.Module):
    """BERT-style encoder: word, position and segment embeddings, `layers` encoder layers, tanh pooler on token 0."""

    VOCABULARY = 4096

    def __init__(self, width: int = 256, heads: int = 4, layers: int = 4, inner: int = 1024, length: int = 512) -> None:
        super().__init__()
        self.word = nn.Embedding(self.VOCABULARY, width, padding_idx=0)
        self.position = nn.Embedding(length, width)
        self.segment = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, inner) for _ in range(layers))
        self.pooler = nn.Linear(width, width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, Tensor]:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        x = self.norm(self.word(input_ids) + self.position(positions) + self.segment(token_type_ids))
        mask = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * -10000.0
        for layer in self.layers:
            x = layer(x, mask)
        return x, torch.tanh(self.pooler(x[:, 0]))


def build_bert(samples: list[dict[str, Tensor]]) -> nn.Module:
    """Return the encoder with weights large enough that attention is neither uniform nor one-hot."""
    del samples  # LayerNorm has no statistics to settle
    model = Bert()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 1.0 / math.sqrt(module.in_features))
            nn.init.normal_(module.bias, 0.0, 0.1)
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0.0, 0.1)
    return model


# -------------------------------------------------------------------------------------------------------------- export
OUTPUTS = {"yolo": ["predictions"], "bert": ["last_hidden_state", "pooler_output"]}
BUILDERS: dict[str, Callable[[list[dict[str, Tensor]]], nn.Module]] = {"yolo": build_yolo, "bert": build_bert}


def read_samples(path: Path) -> list[dict[str, Tensor]]:
    """Read `<input>` arrays whose first axis counts samples of batch 1."""
    with np.load(path, allow_pickle=False) as archive:
        stacked = {name: torch.from_numpy(archive[name]) for name in archive.files}
    count = len(next(iter(stacked.values())))
    return [{name: array[i : i + 1] for name, array in stacked.items()} for i in range(count)]


def check_variation(outputs: list[tuple[Tensor, ...]]) -> None:
    """Exit unless every output is finite, varies within a sample, and differs between two samples."""
    for index, (first, second) in enumerate(zip(outputs[0], outputs[1], strict=True)):
        spread = first.std().item()
        change = (first - second).abs().mean().item()
        if not bool(first.isfinite().all()) or spread < 1e-3 or change < 1e-3 * spread:
            sys.exit(f"output {index} is degenerate: deviation {spread:.3g}, change between samples {change:.3g}")


def main() -> None:
    """Build, check and export one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(BUILDERS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=Path, required=True)
    arguments = parser.parse_args()

    torch.manual_seed(20240)
    samples = read_samples(arguments.samples)
    model = BUILDERS[arguments.model](samples).eval()
    with torch.no_grad():
        answers = [model(**sample) for sample in samples[:2]]
    outputs = [answer if isinstance(answer, tuple) else (answer,) for answer in answers]
    check_variation(outputs)

    names, shapes = list(samples[0]), None
    if arguments.model == "bert":
        batch, length = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("sequence", min=2, max=512)
        shapes = {name: {0: batch, 1: length} for name in names}
        samples[0] = {name: torch.cat([value, value]) for name, value in samples[0].items()}  # 1 would be specialised
    torch.onnx.export(
        model,
        tuple(samples[0].values()),
        str(arguments.out),
        input_names=names,
        output_names=OUTPUTS[arguments.model],
        dynamic_shapes=shapes,
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    reference = {
        f"output:{name}": value.numpy() for name, value in zip(OUTPUTS[arguments.model], outputs[0], strict=True)
    }
    reference |= {f"input:{name}": value[:1].numpy() for name, value in samples[0].items()}
    partial = arguments.out.with_suffix(f".{os.getpid()}.npz")
    np.savez(partial, **reference)
    partial.replace(arguments.out.with_suffix(".reference.npz"))


if __name__ == "__main__":
    main()
