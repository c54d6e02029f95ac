"""How values are written: numbers, types, layouts, attributes, constants."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from uair.ir.data import EAGER_BYTES, ArrayData, Data, MappedData, SplatData
from uair.ir.dims import Dim
from uair.ir.dtype import Array, DType
from uair.ir.layout import Layout, fractal_z, nc1hwc0, nhwc
from uair.ir.types import TensorType, contained
from uair.ops.base import AttributeKind, Operator, attribute_kinds
from uair.text.names import quote

LITERAL_ELEMENTS = 32
"""Constants up to this size, and strings of any, are written out; larger ones are references to the sidecar."""
SPLAT_ELEMENTS = 5
"""From this size on, a constant whose elements are all the same is written as a splat."""
_CHUNK = 1 << 16


# ---------------------------------------------------------------------- numbers
def float_from_text(text: str, dtype: DType) -> Array:
    """The scalar that a decimal, `inf`, `-inf`, `nan` or `0x...` (the bits) stands for.

    Raises:
        ValueError: not a number, or a finite one outside the range of `dtype`.
    """
    if text.startswith("0x"):
        bits = int(text, 16)
        if bits >> dtype.bits:
            raise ValueError(f"{text} has more than the {dtype.bits} bits of {dtype}")
        return np.frombuffer(bits.to_bytes(dtype.numpy.itemsize, "little"), dtype.numpy)[0:1].reshape(())
    with np.errstate(all="ignore"):
        value: Array = np.asarray(float(text)).astype(dtype.numpy)
    if text.lstrip("-") not in ("inf", "nan") and not np.isfinite(value.astype(np.float64)):
        raise ValueError(f"{text} is outside the range of {dtype}")
    return value


def float_text(value: Any, dtype: DType) -> str:
    """The shortest spelling that reads back with exactly the same bits."""
    scalar = np.asarray(value, dtype.numpy).reshape(())
    wide = float(scalar)
    if np.isnan(wide):
        return "nan" if _reads_back("nan", scalar, dtype) else f"0x{int.from_bytes(scalar.tobytes(), 'little'):x}"
    if wide in (np.inf, -np.inf):
        return "inf" if wide > 0 else "-inf"
    if dtype is DType.F64:
        return repr(wide)
    for candidate in _candidates(scalar, wide, dtype):
        if _reads_back(candidate, scalar, dtype):
            # Python's choice between 0.001 and 1e-05, whatever NumPy's is; 448.0, exact, rather than 450.0, as long
            return min(repr(wide), repr(float(candidate)), key=len)
    return repr(wide)


def _candidates(scalar: Array, wide: float, dtype: DType) -> tuple[str, ...]:
    if dtype in (DType.F32, DType.F16):
        return (str(scalar[()]),)
    return tuple(f"{wide:.{digits}g}" for digits in range(1, 10))


def _reads_back(text: str, scalar: Array, dtype: DType) -> bool:
    try:
        return float_from_text(text, dtype).tobytes() == scalar.tobytes()
    except ValueError:
        return False


def element_text(value: Any, dtype: DType) -> str:
    """One element of a constant."""
    if dtype.is_float:
        return float_text(value, dtype)
    if dtype is DType.STRING:
        return quote(str(value))
    if dtype is DType.BOOL:
        return "true" if value else "false"
    if dtype.is_integer:
        return str(int(value))
    part = DType.F32 if dtype is DType.C64 else DType.F64
    number: Any = np.asarray(value, dtype.numpy)
    return f"({float_text(number.real, part)},{float_text(number.imag, part)})"


# ------------------------------------------------------------- types and layouts
def extent_text(extent: Dim | None) -> str:
    """An extent: a number, an expression without blanks, or `?` for one that nothing is known about."""
    return "?" if extent is None else str(extent).replace(" ", "")


def type_text(t: TensorType) -> str:
    """A tensor type: `f32[1,3,N,floor(N/2)+1; NHWC]`; `f32[*]` when the rank is unknown; `seq<f32[?,3]>`."""
    shape = "*" if t.shape is None else ",".join(map(extent_text, t.shape))
    layout = "" if t.layout == Layout.ANY else f"; {layout_text(t.layout)}"
    return contained(f"{t.dtype.value}[{shape}{layout}]", (c.value for c in t.containers))


def standard_layout(name: str) -> Layout | None:
    """The layout that a short name stands for."""
    fixed = {"any": Layout.ANY, "plain": Layout.PLAIN, "NHWC": nhwc()}
    blocked = {"NC1HWC0": nc1hwc0, "FRACTAL_Z": fractal_z}
    found = re.fullmatch(r"(\w+)<([1-9][0-9]{0,8})>", name)
    if found and found[1] in blocked:
        return blocked[found[1]](int(found[2]))
    return fixed.get(name)


def layout_text(layout: Layout) -> str:
    """A layout: `NHWC`, `NC1HWC0<16>`, `plain(align=32)`, or in full: `layout("x",blocks=(1:16),order=(0,2,1))`."""
    standard = standard_layout(layout.name)
    if standard == layout:
        return layout.name
    align = f"align={layout.row_alignment}"
    if standard is not None and attrs.evolve(standard, row_alignment=layout.row_alignment) == layout:
        return f"{layout.name}({align})"
    parts = [quote(layout.name)]
    if layout.blocks:
        parts.append(f"blocks=({','.join(f'{axis}:{block}' for axis, block in layout.blocks)})")
    if layout.order:
        parts.append(f"order=({','.join(map(str, layout.order))})")
    if layout.row_alignment != 1:
        parts.append(align)
    return f"layout({','.join(parts)})"


# ------------------------------------------------------------------- attributes
def attribute_text(value: Any, kind: AttributeKind) -> str:
    """An attribute of any kind but "graph"."""
    if value is None:
        return "none"
    base = kind.base
    if base in ("ints", "floats", "strs", "shape", "types"):
        return "[" + ",".join(_item_text(v, base) for v in value) + "]"
    if base == "layout":
        return layout_text(value)
    if base == "dtype":
        return str(value)
    return _item_text(value, base)


def _item_text(value: Any, base: str) -> str:
    if base in ("float", "floats"):
        return float_text(value, DType.F64)
    if base in ("str", "strs", "choice"):
        return quote(value)
    if base == "bool":
        return "true" if value else "false"
    if base == "types":
        return type_text(value)
    return extent_text(value)


def _defaults(cls: type[Operator]) -> Mapping[str, tuple[AttributeKind, str]]:
    """Kind of each attribute and the text of its default; compared as text, because 0.0 == -0.0 and nan != nan."""
    found: Mapping[str, tuple[AttributeKind, str]] | None = cls.__dict__.get("_default_texts")
    if found is None:
        found = _default_texts(cls)
        setattr(cls, "_default_texts", found)  # noqa: B010  kept with the class, as its attribute names are
    return found


def _default_texts(cls: type[Operator]) -> Mapping[str, tuple[AttributeKind, str]]:
    result: dict[str, tuple[AttributeKind, str]] = {}
    for name, kind in attribute_kinds(cls).items():
        default: Any = getattr(cls, name)
        graph = kind.base == "graph"
        result[name] = (
            kind,
            "none" if graph and default is None else "" if graph else attribute_text(default, kind),
        )
    return result


def attributes_text(op: Operator) -> str:
    """The attributes that differ from their defaults: `{strides = [2,2], groups = 4}`, or nothing."""
    shown: list[str] = []
    for name, (kind, default) in _defaults(type(op)).items():
        if kind.base == "graph":
            continue
        text = attribute_text(getattr(op, name), kind)
        if text != default:
            shown.append(f"{name} = {text}")
    return f" {{{', '.join(shown)}}}" if shown else ""


# -------------------------------------------------------------------- constants
def is_large(data: Data) -> bool:
    """Whether the constant is written as a reference to the sidecar."""
    return data.dtype is not DType.STRING and data.size > LITERAL_ELEMENTS and _repeated(data) is None


def constant_text(data: Data, t: TensorType) -> str:
    """The value of a constant whose tensor has type `t`.

    When the data are of another type than the tensor (invalid IR), theirs is written too: `splat<0.5, f32[3]>`.
    """
    own = (
        "" if data.dtype is t.dtype and data.shape == t.shape else f", {type_text(TensorType(data.dtype, data.shape))}"
    )
    dtype = data.dtype
    repeated = _repeated(data)
    if repeated is not None:
        return f"splat<{element_text(repeated, dtype)}{own}>"
    if data.size > LITERAL_ELEMENTS and dtype is not DType.STRING:
        return f"dense<sha256:{data.sha256}{own}>"
    values = data.array()
    if not data.shape:
        text = element_text(values[()], dtype)
    else:
        text = "[" + ",".join(element_text(v, dtype) for v in values.reshape(-1)) + "]"
    return f"dense<{text}{own}>" if own else text


def _repeated(data: Data) -> Any:
    """The element that a constant of some size repeats; None when it holds several, or is is too costly to look at."""
    if data.size < SPLAT_ELEMENTS:
        return None
    if isinstance(data, SplatData):
        return data.value[()]
    if data.nbytes > EAGER_BYTES and not isinstance(data, (ArrayData, MappedData)):
        return None
    flat = data.array().reshape(-1)
    if data.dtype is DType.STRING:
        return flat[0] if all(v == flat[0] for v in flat) else None
    first = flat[:1].tobytes()
    if flat[-1:].tobytes() != first or flat[len(flat) // 2 :][:1].tobytes() != first:
        return None
    same = all(flat[i : i + _CHUNK].tobytes() == first * len(flat[i : i + _CHUNK]) for i in range(0, len(flat), _CHUNK))
    return flat[0] if same else None
