"""The layers that models are made of, each in PyTorch and in Keras, and how the weights of both belong together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs
import keras
import numpy as np
import torch
from keras import layers as L
from torch import nn
from torch.nn import functional as F

Stage = Literal["read", "canonical", "fused"]
Weights = Callable[[Sequence[Any]], "dict[str, Any]"]


def _none(_: Sequence[Any]) -> dict[str, Any]:
    return {}


@attrs.frozen(eq=False)
class Pair:
    """One layer in both frameworks.

    Attributes:
        torch: a module, of [N, C, spatial...] where it is about images or series with channels.
        keras: what is called on Keras's tensors.
        shapes: of these, without the batch.
        weights: state of the module, by name, from Keras's variables in their order.
        stage: what has to be done until both are the same: nothing ("read"), uair's canonicalise pass, or fuse as well.
        channels: of Keras's interface, as `uair.load` takes it.
        integers: whether the operands are places in a table.
    """

    torch: nn.Module
    keras: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    weights: Weights = _none
    stage: Stage = "read"
    channels: str = "first"
    integers: bool = False


class Call(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return self.function(*args)


class Sequence_(nn.Module):
    """A recurrent layer's outputs of all steps."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x)[0]


class LastState(Sequence_):
    """A recurrent layer's state after the last step."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = self.rnn(x)[1]
        return (states[0] if isinstance(states, tuple) else states)[-1]


class SelfAttention(nn.Module):
    """Attention as models of PyTorch write it, over scaled_dot_product_attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, steps, width = x.shape
        q, k, v = (
            layer(x).view(batch, steps, self.heads, -1).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(batch, steps, width))


class PackedAttention(nn.Module):
    """PyTorch's own layer over one tensor, with or without the weights as a result of the layer."""

    def __init__(self, width: int, heads: int, need_weights: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(width, heads, batch_first=batch_first)
        self.need_weights = need_weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(x, x, x, need_weights=self.need_weights)[0]
        return result


# ------------------------------------------------------------------------------------------------ weights
def _named(*names: str) -> Weights:
    return lambda variables: dict(zip(names, variables, strict=True))


def _inside(prefix: str, weights: Weights) -> Weights:
    return lambda variables: {prefix + name: value for name, value in weights(variables).items()}


def _channels_first(kernel: Any) -> Any:
    """[spatial..., a, b] as [b, a, spatial...]."""
    n = kernel.ndim
    return np.transpose(kernel, (n - 1, n - 2, *range(n - 2)))


def _convolution(variables: Sequence[Any]) -> dict[str, Any]:
    kernel, *bias = variables
    return {"weight": _channels_first(kernel), **dict(zip(("bias",), bias, strict=False))}


def _linear(variables: Sequence[Any]) -> dict[str, Any]:
    kernel, *bias = variables
    return {"weight": kernel.T, **dict(zip(("bias",), bias, strict=False))}


def _by_depth(kernel: Any) -> Any:
    """[spatial..., channels, multiplier] as [channels * multiplier, 1, spatial...]."""
    n = kernel.ndim
    turned = np.transpose(kernel, (n - 2, n - 1, *range(n - 2)))
    return turned.reshape(-1, 1, *kernel.shape[:-2])


def _depthwise(variables: Sequence[Any]) -> dict[str, Any]:
    return {"weight": _by_depth(variables[0]), "bias": variables[1]}


def _separable(variables: Sequence[Any]) -> dict[str, Any]:
    deep, point, bias = variables
    return {"0.weight": _by_depth(deep), "1.weight": _channels_first(point), "1.bias": bias}


def _recurrent(variables: Sequence[Any], end: str = "") -> dict[str, Any]:
    """Of LSTM (gates i, f, g, o in both) and SimpleRNN, which have one bias in Keras."""
    kernel, recurrent, bias = variables
    values = (kernel.T, recurrent.T, bias, np.zeros_like(bias))
    return {f"rnn.{name}_l0{end}": v for name, v in zip(_PARAMETERS, values, strict=True)}


_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _gru(variables: Sequence[Any], end: str = "") -> dict[str, Any]:
    """Keras has the gates z, r, h, PyTorch r, z, n; both have two biases."""

    def turned(array: Any) -> Any:
        z, r, h = np.split(array, 3)
        return np.concatenate([r, z, h])

    kernel, recurrent, biases = variables
    values = (kernel.T, recurrent.T, *biases)
    return {f"rnn.{name}_l0{end}": turned(v) for name, v in zip(_PARAMETERS, values, strict=True)}


def _both_ways(one: Callable[..., dict[str, Any]]) -> Weights:
    return lambda variables: one(variables[:3]) | one(variables[3:], "_reverse")


def _attention(variables: Sequence[Any]) -> dict[str, Any]:
    """Keras's kernels are [width, heads, size], the last one [heads, size, width]."""
    width = variables[0].shape[0]
    found: dict[str, Any] = {}
    for name, kernel, bias in zip(("query", "key", "value", "out"), variables[::2], variables[1::2], strict=True):
        found |= {f"{name}.weight": kernel.reshape(width, width).T, f"{name}.bias": bias.reshape(width)}
    return found


def _packed(variables: Sequence[Any]) -> dict[str, Any]:
    """PyTorch's layer has the first three kernels and biases in one."""
    own = _attention(variables)
    packed = {
        kind: np.concatenate([own[f"{n}.{kind}"] for n in ("query", "key", "value")]) for kind in ("weight", "bias")
    }
    return {
        "layer.in_proj_weight": packed["weight"],
        "layer.in_proj_bias": packed["bias"],
        "layer.out_proj.weight": own["out.weight"],
        "layer.out_proj.bias": own["out.bias"],
    }


_STATISTICS = _named("weight", "bias", "running_mean", "running_var")
_AFFINE = _named("weight", "bias")

# ------------------------------------------------------------------------------------------------ layers
EPSILON = 2**-10
"""A number that f32 has, as the other numbers here: files keep no others, Python does."""

IMAGE, SERIES, ROW, VOLUME = ((9, 8, 4),), ((7, 4),), ((6,),), ((5, 6, 4, 3),)


def _activation(name: str) -> Any:
    return L.Activation(name)


def _with_its_relu(x: Any) -> Any:
    y = L.Conv2D(6, 1)(x)
    return L.Concatenate()([y, L.ReLU()(y)])


PAIRS: dict[str, Pair] = {
    # Linear
    "Dense": Pair(nn.Linear(6, 5), L.Dense(5), ROW, _linear),
    "Dense-of-series": Pair(nn.Linear(4, 5), L.Dense(5), SERIES, _linear),
    "Dense-without-bias": Pair(nn.Linear(6, 5, bias=False), L.Dense(5, use_bias=False), ROW, _linear),
    "Dense-relu": Pair(nn.Sequential(nn.Linear(6, 5), nn.ReLU()), L.Dense(5, "relu"), ROW, _inside("0.", _linear)),
    "Embedding": Pair(nn.Embedding(9, 5), L.Embedding(9, 5), ((7,),), _named("weight"), integers=True),
    # Convolutions
    "Conv1D": Pair(nn.Conv1d(4, 5, 3, 2), L.Conv1D(5, 3, 2), SERIES, _convolution),
    "Conv2D": Pair(nn.Conv2d(4, 6, 3), L.Conv2D(6, 3), IMAGE, _convolution),
    "Conv2D-same": Pair(nn.Conv2d(4, 6, 3, padding=1), L.Conv2D(6, 3, padding="same"), IMAGE, _convolution),
    "Conv2D-dilated-groups": Pair(
        nn.Conv2d(4, 6, 3, dilation=2, groups=2), L.Conv2D(6, 3, dilation_rate=2, groups=2), IMAGE, _convolution
    ),
    "Conv3D": Pair(nn.Conv3d(3, 4, 2, 2), L.Conv3D(4, 2, 2), VOLUME, _convolution),
    "Conv1DTranspose": Pair(nn.ConvTranspose1d(4, 5, 3, 2), L.Conv1DTranspose(5, 3, 2), SERIES, _convolution),
    "Conv2DTranspose": Pair(nn.ConvTranspose2d(4, 5, 3, 2), L.Conv2DTranspose(5, 3, 2), IMAGE, _convolution),
    "Conv2DTranspose-same": Pair(
        nn.ConvTranspose2d(4, 5, 4, 2, padding=1), L.Conv2DTranspose(5, 4, 2, padding="same"), IMAGE, _convolution
    ),
    "Conv3DTranspose": Pair(nn.ConvTranspose3d(3, 4, 3, 2), L.Conv3DTranspose(4, 3, 2), VOLUME, _convolution),
    "DepthwiseConv2D": Pair(nn.Conv2d(4, 8, 3, groups=4), L.DepthwiseConv2D(3, depth_multiplier=2), IMAGE, _depthwise),
    "SeparableConv1D": Pair(
        nn.Sequential(nn.Conv1d(4, 4, 3, groups=4, bias=False), nn.Conv1d(4, 5, 1)),
        L.SeparableConv1D(5, 3),
        SERIES,
        _separable,
    ),
    "SeparableConv2D": Pair(
        nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.Conv2d(4, 5, 1)),
        L.SeparableConv2D(5, 3),
        IMAGE,
        _separable,
    ),
    # Normalizations
    "BatchNormalization": Pair(
        nn.BatchNorm2d(4, eps=EPSILON), L.BatchNormalization(epsilon=EPSILON), IMAGE, _STATISTICS
    ),
    "BatchNormalization-of-rows": Pair(
        nn.BatchNorm1d(6, eps=EPSILON), L.BatchNormalization(epsilon=EPSILON), ROW, _STATISTICS
    ),
    "BatchNormalization-plain": Pair(
        nn.BatchNorm2d(4, eps=EPSILON, affine=False),
        L.BatchNormalization(epsilon=EPSILON, center=False, scale=False),
        IMAGE,
        _named("running_mean", "running_var"),
    ),
    "LayerNormalization": Pair(nn.LayerNorm(4, eps=EPSILON), L.LayerNormalization(epsilon=EPSILON), SERIES, _AFFINE),
    "LayerNormalization-plain": Pair(
        nn.LayerNorm(4, eps=EPSILON, elementwise_affine=False),
        L.LayerNormalization(epsilon=EPSILON, center=False, scale=False),
        SERIES,
    ),
    "LayerNormalization-without-bias": Pair(
        nn.LayerNorm(4, eps=EPSILON, bias=False),
        L.LayerNormalization(epsilon=EPSILON, center=False),
        SERIES,
        _named("weight"),
    ),
    "GroupNormalization": Pair(
        nn.GroupNorm(2, 4, eps=EPSILON), L.GroupNormalization(2, epsilon=EPSILON), IMAGE, _AFFINE
    ),
    "GroupNormalization-plain": Pair(
        nn.GroupNorm(2, 4, eps=EPSILON, affine=False),
        L.GroupNormalization(2, epsilon=EPSILON, center=False, scale=False),
        IMAGE,
    ),
    "InstanceNorm": Pair(
        nn.InstanceNorm2d(4, eps=EPSILON, affine=True), L.GroupNormalization(-1, epsilon=EPSILON), IMAGE, _AFFINE
    ),
    "RMSNormalization": Pair(nn.RMSNorm(4, eps=EPSILON), L.RMSNormalization(epsilon=EPSILON), SERIES, _named("weight")),
    # Recurrent layers: PyTorch gives a first state of zeros to its operator.
    "LSTM": Pair(
        Sequence_(nn.LSTM(4, 3, batch_first=True)), L.LSTM(3, return_sequences=True), SERIES, _recurrent, "canonical"
    ),
    "LSTM-last": Pair(LastState(nn.LSTM(4, 3, batch_first=True)), L.LSTM(3), SERIES, _recurrent, "canonical"),
    "GRU": Pair(Sequence_(nn.GRU(4, 3, batch_first=True)), L.GRU(3, return_sequences=True), SERIES, _gru, "canonical"),
    "GRU-last": Pair(LastState(nn.GRU(4, 3, batch_first=True)), L.GRU(3), SERIES, _gru, "canonical"),
    "SimpleRNN": Pair(
        Sequence_(nn.RNN(4, 3, batch_first=True)),
        L.SimpleRNN(3, return_sequences=True),
        SERIES,
        _recurrent,
        "canonical",
    ),
    "Bidirectional-LSTM": Pair(
        Sequence_(nn.LSTM(4, 3, batch_first=True, bidirectional=True)),
        L.Bidirectional(L.LSTM(3, return_sequences=True)),
        SERIES,
        _both_ways(_recurrent),
        "canonical",
    ),
    "Bidirectional-GRU": Pair(
        Sequence_(nn.GRU(4, 3, batch_first=True, bidirectional=True)),
        L.Bidirectional(L.GRU(3, return_sequences=True)),
        SERIES,
        _both_ways(_gru),
        "canonical",
    ),
    # Attention
    "MultiHeadAttention": Pair(SelfAttention(4, 2), lambda x: L.MultiHeadAttention(2, 2)(x, x), SERIES, _attention),
    "MultiHeadAttention-packed": Pair(
        PackedAttention(4, 2), lambda x: L.MultiHeadAttention(2, 2)(x, x), SERIES, _packed, "fused"
    ),
    "Attention": Pair(
        Call(lambda q, v: F.scaled_dot_product_attention(q, v, v, scale=1.0)),
        lambda q, v: L.Attention()([q, v]),
        SERIES * 2,
        stage="canonical",
    ),
    # Pooling; PyTorch counts padding also where there is none.
    "MaxPooling1D": Pair(nn.MaxPool1d(3, 2), L.MaxPooling1D(3, 2), SERIES),
    "MaxPooling2D": Pair(nn.MaxPool2d((3, 2), (2, 1)), L.MaxPooling2D((3, 2), (2, 1)), IMAGE),
    "MaxPooling2D-same": Pair(nn.MaxPool2d(3, 1, 1), L.MaxPooling2D(3, 1, padding="same"), IMAGE),
    "MaxPooling3D": Pair(nn.MaxPool3d(2), L.MaxPooling3D(2), VOLUME),
    "AveragePooling1D": Pair(nn.AvgPool1d(3, 2), L.AveragePooling1D(3, 2), SERIES, stage="canonical"),
    "AveragePooling2D": Pair(nn.AvgPool2d(2), L.AveragePooling2D(2), IMAGE, stage="canonical"),
    "AveragePooling2D-same": Pair(
        nn.AvgPool2d(3, 1, 1, count_include_pad=False), L.AveragePooling2D(3, 1, padding="same"), IMAGE
    ),
    "AveragePooling3D": Pair(nn.AvgPool3d(2), L.AveragePooling3D(2), VOLUME, stage="canonical"),
    "GlobalAveragePooling2D": Pair(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), L.GlobalAveragePooling2D(), IMAGE
    ),
    "GlobalMaxPooling2D": Pair(nn.AdaptiveMaxPool2d(1), L.GlobalMaxPooling2D(keepdims=True), IMAGE),
    "AdaptiveAveragePooling2D": Pair(nn.AdaptiveAvgPool2d((4, 3)), L.AdaptiveAveragePooling2D((4, 3)), IMAGE),
    "AdaptiveMaxPooling2D": Pair(nn.AdaptiveMaxPool2d((4, 3)), L.AdaptiveMaxPooling2D((4, 3)), IMAGE),
    # Activations
    "ReLU": Pair(nn.ReLU(), L.ReLU(), IMAGE),
    "ReLU6": Pair(nn.ReLU6(), L.ReLU(6.0), ROW),
    "LeakyReLU": Pair(nn.LeakyReLU(0.25), L.LeakyReLU(0.25), ROW),
    "PReLU": Pair(
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.PReLU(4)),
        lambda x: L.PReLU(shared_axes=[1, 2])(L.Conv2D(4, 1)(x)),
        IMAGE,
        lambda v: _inside("0.", _convolution)(v[:2]) | {"1.weight": v[2].reshape(-1)},
        "canonical",
    ),
    "ELU": Pair(nn.ELU(0.75), L.ELU(0.75), ROW),
    "SELU": Pair(nn.SELU(), _activation("selu"), ROW),
    "CELU": Pair(nn.CELU(), _activation("celu"), ROW),
    "GELU": Pair(nn.GELU(), _activation("gelu"), ROW),
    "GELU-tanh": Pair(nn.GELU("tanh"), lambda x: keras.ops.gelu(x, approximate=True), ROW),
    "SiLU": Pair(nn.SiLU(), _activation("silu"), ROW),
    "Mish": Pair(nn.Mish(), _activation("mish"), ROW),
    "Sigmoid": Pair(nn.Sigmoid(), _activation("sigmoid"), ROW),
    "LogSigmoid": Pair(nn.LogSigmoid(), _activation("log_sigmoid"), ROW),
    "HardSigmoid": Pair(nn.Hardsigmoid(), _activation("hard_sigmoid"), ROW),
    "HardSwish": Pair(nn.Hardswish(), _activation("hard_silu"), ROW),
    "Tanh": Pair(nn.Tanh(), _activation("tanh"), ROW),
    "HardTanh": Pair(nn.Hardtanh(), _activation("hard_tanh"), ROW),
    "Softmax": Pair(nn.Softmax(-1), L.Softmax(), SERIES),
    "Softmax-of-image": Pair(
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.Softmax(1)),
        lambda x: L.Softmax()(L.Conv2D(4, 1)(x)),
        IMAGE,
        _inside("0.", _convolution),
    ),
    "LogSoftmax": Pair(nn.LogSoftmax(-1), _activation("log_softmax"), ROW),
    "Softplus": Pair(nn.Softplus(), _activation("softplus"), ROW),
    "Softsign": Pair(nn.Softsign(), _activation("softsign"), ROW, stage="fused"),  # PyTorch: x / (1 + |x|)
    "GLU": Pair(nn.GLU(), _activation("glu"), ROW),
    # Shapes
    "Dropout": Pair(nn.Sequential(nn.Dropout(), nn.ReLU()), lambda x: L.ReLU()(L.Dropout(0.5)(x)), ROW),
    "Flatten": Pair(nn.Flatten(), L.Flatten(), SERIES),
    "Reshape": Pair(nn.Unflatten(1, (2, 3)), L.Reshape((2, 3)), ROW),
    "Permute": Pair(Call(lambda x: x.permute(0, 2, 1)), L.Permute((2, 1)), SERIES, channels="last"),
    "RepeatVector": Pair(Call(lambda x: x.unsqueeze(1).expand(-1, 3, -1)), L.RepeatVector(3), ROW),
    "ZeroPadding2D": Pair(nn.ZeroPad2d((1, 2, 3, 0)), L.ZeroPadding2D(((3, 0), (1, 2))), IMAGE),
    "Cropping2D": Pair(nn.ZeroPad2d((-1, -2, -1, 0)), L.Cropping2D(((1, 0), (1, 2))), IMAGE, stage="canonical"),
    "UpSampling1D": Pair(nn.Upsample(scale_factor=3), L.UpSampling1D(3), SERIES),
    "UpSampling2D": Pair(nn.Upsample(scale_factor=2), L.UpSampling2D(2), IMAGE),
    "UpSampling2D-bilinear": Pair(
        nn.Upsample(scale_factor=2, mode="bilinear"), L.UpSampling2D(2, interpolation="bilinear"), IMAGE
    ),
    "Resizing": Pair(nn.Upsample(size=(5, 11), mode="bilinear"), L.Resizing(5, 11), IMAGE),
    # Several operands
    "Add": Pair(Call(torch.add), lambda a, b: L.Add()([a, b]), IMAGE * 2),
    "Subtract": Pair(Call(torch.sub), lambda a, b: L.Subtract()([a, b]), IMAGE * 2),
    "Multiply": Pair(Call(torch.mul), lambda a, b: L.Multiply()([a, b]), IMAGE * 2),
    "Maximum": Pair(Call(torch.maximum), lambda a, b: L.Maximum()([a, b]), IMAGE * 2),
    "Average": Pair(Call(lambda a, b: (a + b) / 2), lambda a, b: L.Average()([a, b]), IMAGE * 2),
    "Concatenate": Pair(
        nn.Sequential(nn.Conv2d(4, 6, 1), Call(lambda x: torch.cat([x, x.relu()], 1))),
        _with_its_relu,
        IMAGE,
        _inside("0.", _convolution),
    ),
}
