"""Convolutions and transposed convolutions over one, two and three spatial axes, channels first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from uair.ir.dims import Dim, InferredShape
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType, inferred
from uair.ops._convolve import Geometry, convolve, convolve_transposed
from uair.ops._windows import AutoPad, WindowOperator
from uair.ops.base import Ints, Sample, bad, case, operator, ranked, require, same_dtype, unify_extents


def _numeric(dtype: DType) -> None:
    require(dtype.is_float or dtype.is_integer, "element type {} has no products", dtype, hint="insert a Cast")


def _kernel_of(shape: InferredShape) -> Ints:
    """The kernel extents of a weight shape, which must be numbers."""
    extents = [d for d in shape[2:] if isinstance(d, int)]
    require(len(extents) == len(shape) - 2, "the kernel extents of w must be known, w has shape {}", list(shape))
    require(all(d >= 1 for d in extents), "the kernel extents of w must be at least 1, w has shape {}", list(shape))
    return tuple(extents)


def _require_bias(bias: TensorType | None, channels: Dim | None) -> None:
    if bias is not None:
        (extent,) = ranked(bias, "bias", 1)
        require(unify_extents(extent, channels), "bias has {} elements, w gives {} output channels", extent, channels)


class _Convolution(WindowOperator):
    """What the convolutions of all ranks share."""

    groups: int

    def infer(self, x: TensorType, w: TensorType, bias: TensorType | None = None) -> TensorType:
        n = self.spatial_rank
        dtype = same_dtype(x=x, w=w, bias=bias)
        _numeric(dtype)
        weight = ranked(w, "w", n + 2)
        shape = (None,) * (n + 2) if x.shape is None else ranked(x, "x", n + 2)
        self.require_window()
        require(self.groups >= 1, "groups must be at least 1, got {}", self.groups)
        expected = None if weight[1] is None else weight[1] * self.groups
        require(
            unify_extents(expected, shape[1]),
            "weight expects {} input channels, x has {}",
            expected,
            shape[1],
            hint=f"w has shape {list(weight)} and groups is {self.groups}: x needs w.shape[1] * groups channels",
        )
        require(
            not isinstance(weight[0], int) or weight[0] % self.groups == 0,
            "{} output channels cannot be divided into {} groups",
            weight[0],
            self.groups,
        )
        _require_bias(bias, weight[0])
        return inferred(dtype, (shape[0], weight[0], *self.window_extents(shape[2:], _kernel_of(weight))))

    def evaluate(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        return convolve(x, w, bias, self.geometry(x.shape[2:], w.shape[2:]))

    def geometry(self, spatial: Sequence[int], kernel: Sequence[int]) -> Geometry:
        """How the kernel slides over x with these spatial extents."""
        pads = self.explicit_pads(spatial, kernel)
        n = len(kernel)
        extents = tuple(
            max((d + pads[i] + pads[n + i] - self.dilations[i] * (kernel[i] - 1) - 1) // self.strides[i] + 1, 0)
            for i, d in enumerate(spatial)
        )
        return Geometry(self.strides, pads, self.dilations, tuple(kernel), extents, self.groups)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        w = operands[1]
        assert w is not None
        bias = results[0].size if len(operands) > 2 and operands[2] is not None else 0
        return 2 * results[0].size * (w.size // max(TensorType(w.dtype, w.dims[:1]).size, 1)) + bias


@operator(inputs="x w bias?", family="convolution")
class Conv1D(_Convolution):
    """1-D convolution (cross-correlation). x: [N, C, L]; w: [M, C/groups, k]; bias: [M]; result: [N, M, L'].

    Formula and attributes as for Conv2D; pads are (begin, end). Source: ONNX Conv, torch.nn.Conv1d.
    """

    spatial_rank: ClassVar[int] = 1
    strides: Ints = (1,)
    pads: Ints = (0, 0)
    dilations: Ints = (1,)
    groups: int = 1
    auto_pad: AutoPad = "notset"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,3,9]", "f32[4,3,3]")
        yield case(cls(strides=(2,), pads=(2, 1), dilations=(2,)), "f32[1,4,11]", "f32[6,4,3]", "f32[6]")
        yield case(cls(groups=4, pads=(1, 1)), "f16[1,4,7]", "f16[4,1,3]", "f16[4]")
        yield bad(cls(), "f32[1,3,9]", "f32[4,2,3]", because="weight expects 2 input channels, x has 3")
        yield bad(cls(), "f32[1,3,2]", "f32[4,3,5]", because="does not fit")


@operator(inputs="x w bias?", family="convolution")
class Conv2D(_Convolution):
    """2-D convolution (cross-correlation). x: [N, C, H, W]; w: [M, C/groups, kH, kW]; bias: [M]; y: [N, M, H', W'].

    y[n,m,i,j] = bias[m] + sum over c, p, q of x[n, c, i*s_h - top + p*d_h, j*s_w - left + q*d_w] * w[m, c, p, q],
    where x is zero outside and c runs over the channels of the group of m. H' = floor((H + top + bottom - d_h*(kH-1)
    - 1) / s_h) + 1, W' likewise. pads are (top, left, bottom, right). Integer sums are exact and wrap around. Source:
    ONNX Conv, torch.nn.Conv2d. Depthwise is groups = C.
    """

    spatial_rank: ClassVar[int] = 2
    strides: Ints = (1, 1)
    pads: Ints = (0, 0, 0, 0)
    dilations: Ints = (1, 1)
    groups: int = 1
    auto_pad: AutoPad = "notset"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(pads=(1, 1, 1, 1)), "f32[1,3,8,8]", "f32[4,3,3,3]", "f32[4]")
        yield case(cls(strides=(2, 1), pads=(0, 1, 2, 3), dilations=(1, 2)), "f32[2,4,9,7]", "f32[6,4,3,2]")
        yield case(cls(groups=2), "f32[1,4,5,5]", "f32[6,2,1,1]", "f32[6]")
        yield case(cls(), "f32[0,4,5,5]", "f32[6,4,1,1]")
        yield case(cls(groups=4), "f32[0,4,5,5]", "f32[4,1,3,3]", "f32[4]")
        yield case(cls(groups=4, strides=(2, 2), pads=(1, 1, 1, 1)), "f32[1,4,6,7]", "f32[8,1,3,3]", "f32[8]")
        yield case(cls(), "bf16[1,2,4,4]", "bf16[2,2,3,3]", "bf16[2]")
        yield case(cls(pads=(1, 1, 1, 1)), "i32[1,2,4,4]", "i32[3,2,3,3]", "i32[3]")
        yield case(cls(auto_pad="same_upper", strides=(2, 2)), "f32[1,2,7,8]", "f32[3,2,3,3]")
        yield bad(cls(), "f32[1,3,8,8]", "f32[8,4,3,3]", because="weight expects 4 input channels, x has 3")
        yield bad(cls(), "f32[3,8,8]", "f32[8,3,3,3]", because="x must have rank 4")
        yield bad(cls(), "f32[1,3,8,8]", "f16[8,3,3,3]", because="element types must agree")
        yield bad(cls(), "f32[1,3,8,8]", "f32[8,3,3,3]", "f32[7]", because="bias has 7 elements")
        yield bad(cls(groups=3), "f32[1,3,8,8]", "f32[8,1,3,3]", because="cannot be divided into 3 groups")
        yield bad(cls(pads=(1, 1)), "f32[1,3,8,8]", "f32[8,3,3,3]", because="pads has 2 numbers")
        yield bad(cls(strides=(0, 1)), "f32[1,3,8,8]", "f32[8,3,3,3]", because="strides must be at least 1")


@operator(inputs="x w bias?", family="convolution")
class Conv3D(_Convolution):
    """3-D convolution (cross-correlation). x: [N, C, D, H, W]; w: [M, C/groups, kD, kH, kW]; bias: [M].

    Formula and attributes as for Conv2D; pads are (front, top, left, back, bottom, right).
    Source: ONNX Conv, torch.nn.Conv3d.
    """

    spatial_rank: ClassVar[int] = 3
    strides: Ints = (1, 1, 1)
    pads: Ints = (0, 0, 0, 0, 0, 0)
    dilations: Ints = (1, 1, 1)
    groups: int = 1
    auto_pad: AutoPad = "notset"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(pads=(1, 1, 1, 1, 1, 1)), "f32[1,2,4,4,5]", "f32[3,2,3,3,3]", "f32[3]")
        yield case(cls(groups=2, strides=(2, 1, 2)), "f32[1,2,5,4,5]", "f32[4,1,2,3,2]")
        yield bad(cls(), "f32[1,2,4,4]", "f32[3,2,3,3,3]", because="x must have rank 5")


class _Transposed(WindowOperator):
    """What the transposed convolutions of all ranks share."""

    groups: int
    output_padding: Ints

    @property
    def auto_pad(self) -> AutoPad:  # type: ignore[override]
        """A transposed convolution always has explicit padding."""
        return "notset"

    def infer(self, x: TensorType, w: TensorType, bias: TensorType | None = None) -> TensorType:
        n = self.spatial_rank
        dtype = same_dtype(x=x, w=w, bias=bias)
        _numeric(dtype)
        shape, weight = ranked(x, "x", n + 2), ranked(w, "w", n + 2)
        self.require_window()
        require(self.groups >= 1, "groups must be at least 1, got {}", self.groups)
        self._require_output_padding()
        require(
            unify_extents(weight[0], shape[1]),
            "weight expects {} input channels, x has {}",
            weight[0],
            shape[1],
            hint="w of a transposed convolution is [C, M/groups, kernel...]",
        )
        require(
            not isinstance(weight[0], int) or weight[0] % self.groups == 0,
            "{} input channels cannot be divided into {} groups",
            weight[0],
            self.groups,
        )
        channels = None if weight[1] is None else weight[1] * self.groups
        _require_bias(bias, channels)
        kernel = _kernel_of(weight)
        return inferred(dtype, (shape[0], channels, *(self._extent(i, d, kernel[i]) for i, d in enumerate(shape[2:]))))

    def _require_output_padding(self) -> None:
        n = self.spatial_rank
        require(
            len(self.output_padding) == n,
            "output_padding has {} numbers, {} needs {}",
            len(self.output_padding),
            self.op_type,
            n,
        )
        for extra, stride, dilation in zip(self.output_padding, self.strides, self.dilations, strict=True):
            require(
                0 <= extra < max(stride, dilation),
                "output_padding {} must be less than the stride {} or the dilation {}",
                extra,
                stride,
                dilation,
            )

    def _extent(self, i: int, extent: Dim | None, kernel: int) -> Dim | None:
        """(extent - 1) * stride - begin - end + dilation * (kernel - 1) + 1 + output_padding."""
        if extent is None:
            return None
        pads = self.pads[i] + self.pads[self.spatial_rank + i]
        constant = self.dilations[i] * (kernel - 1) + 1 + self.output_padding[i] - pads - self.strides[i]
        result = extent * self.strides[i] + constant
        require(
            not isinstance(result, int) or result >= 1,
            "padding {} removes all of spatial axis {}: its extent would be {}",
            pads,
            i,
            result,
        )
        return result

    def evaluate(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        return convolve_transposed(x, w, bias, self.geometry(x.shape[2:], w.shape[2:]))

    def geometry(self, spatial: Sequence[int], kernel: Sequence[int]) -> Geometry:
        """Where the elements of x with these spatial extents land."""
        extents = tuple(
            (d - 1) * s - begin - end + dilation * (k - 1) + 1 + extra
            for d, s, begin, end, dilation, k, extra in zip(
                spatial,
                self.strides,
                self.pads[: self.spatial_rank],
                self.pads[self.spatial_rank :],
                self.dilations,
                kernel,
                self.output_padding,
                strict=True,
            )
        )
        return Geometry(self.strides, self.pads, self.dilations, tuple(kernel), extents, self.groups)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        x, w = operands[0], operands[1]
        assert x is not None and w is not None
        bias = results[0].size if len(operands) > 2 and operands[2] is not None else 0
        return 2 * x.size * (w.size // max(TensorType(w.dtype, w.dims[:1]).size, 1)) + bias


@operator(inputs="x w bias?", family="convolution")
class ConvTranspose1D(_Transposed):
    """1-D transposed convolution. x: [N, C, L]; w: [C, M/groups, k]; bias: [M]; attributes as for ConvTranspose2D."""

    spatial_rank: ClassVar[int] = 1
    strides: Ints = (1,)
    pads: Ints = (0, 0)
    dilations: Ints = (1,)
    groups: int = 1
    output_padding: Ints = (0,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(strides=(2,), pads=(1, 0)), "f32[2,3,5]", "f32[3,4,3]", "f32[4]")
        yield bad(cls(), "f32[2,3,5]", "f32[4,3,3]", because="weight expects 4 input channels, x has 3")


@operator(inputs="x w bias?", family="convolution")
class ConvTranspose2D(_Transposed):
    """2-D transposed convolution, the adjoint of Conv2D. x: [N, C, H, W]; w: [C, M/groups, kH, kW]; bias: [M].

    Every element x[n,c,i,j] adds x[n,c,i,j] * w[c,m,p,q] to the result at (i*s_h + p*d_h - top, j*s_w + q*d_w - left).
    H' = (H-1)*s_h - top - bottom + d_h*(kH-1) + 1 + output_padding_h, W' likewise: output_padding adds rows and columns
    at the end. pads are (top, left, bottom, right). Source: ONNX ConvTranspose, torch.nn.ConvTranspose2d.
    """

    spatial_rank: ClassVar[int] = 2
    strides: Ints = (1, 1)
    pads: Ints = (0, 0, 0, 0)
    dilations: Ints = (1, 1)
    groups: int = 1
    output_padding: Ints = (0, 0)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(strides=(2, 2)), "f32[1,3,4,5]", "f32[3,4,2,2]", "f32[4]")
        yield case(
            cls(strides=(3, 2), pads=(1, 0, 2, 1), dilations=(2, 1), output_padding=(2, 1), groups=2),
            "f32[2,4,3,4]", "f32[4,3,3,2]",
        )  # fmt: skip
        yield case(cls(pads=(1, 1, 1, 1)), "f16[1,2,3,3]", "f16[2,2,3,3]", "f16[2]")
        yield case(cls(), "f32[0,2,3,3]", "f32[2,2,3,3]")
        yield bad(cls(), "f32[1,3,4,4]", "f32[4,3,2,2]", because="weight expects 4 input channels, x has 3")
        yield bad(cls(output_padding=(1, 0)), "f32[1,3,4,4]", "f32[3,3,2,2]", because="output_padding 1 must be less")
        yield bad(cls(groups=2), "f32[1,3,4,4]", "f32[3,3,2,2]", because="cannot be divided into 2 groups")
        yield bad(cls(pads=(4, 4, 4, 4)), "f32[1,3,4,4]", "f32[3,3,2,2]", because="removes all of spatial axis 0")


@operator(inputs="x w bias?", family="convolution")
class ConvTranspose3D(_Transposed):
    """3-D transposed convolution, as ConvTranspose2D. x: [N, C, D, H, W]; w: [C, M/groups, kD, kH, kW]; bias: [M]."""

    spatial_rank: ClassVar[int] = 3
    strides: Ints = (1, 1, 1)
    pads: Ints = (0, 0, 0, 0, 0, 0)
    dilations: Ints = (1, 1, 1)
    groups: int = 1
    output_padding: Ints = (0, 0, 0)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(strides=(2, 1, 2), output_padding=(1, 0, 0)), "f32[1,2,2,3,2]", "f32[2,3,2,2,2]", "f32[3]")
        yield bad(cls(), "f32[1,2,3,3]", "f32[2,3,2,2,2]", because="x must have rank 5")
