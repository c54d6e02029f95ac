"""Complex numbers, Fourier transforms, and spectrograms, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import uair
from tests.frameworks.torch.harness import WARNINGS, Function, check, compare
from uair.ir.module import Module

pytestmark = WARNINGS
G = torch.Generator().manual_seed(31)
X = torch.randn(3, 8, generator=G)
Y = torch.randn(3, 8, generator=G)
A = torch.randn(2, 3, 4, generator=G)
SIGNAL = torch.randn(2, 40, generator=G)
WINDOW = torch.hann_window(8)


def _c(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.complex(x, y)


CASES: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    "parts": (lambda x, y: (_c(x, y).real, _c(x, y).imag, torch.view_as_real(_c(x, y)), x.real), (X, Y)),
    "polar": (lambda x, y: (torch.polar(x.abs(), y), _c(x, y).abs(), _c(x, y).angle(), x.angle()), (X, Y)),
    "products": (
        lambda x, y: (_c(x, y) * _c(y, x), _c(x, y) * x, y * _c(x, y), _c(x, y) * (2 - 1j), _c(x, y) * 3, x * 1j),
        (X, Y),
    ),
    "sums": (lambda x, y: (_c(x, y) + x, _c(x, y) - _c(y, y), x - _c(x, y), _c(x, y) + 1j, -_c(x, y)), (X, Y)),
    "quotients": (
        lambda x, y: (_c(x, y) / _c(y, x), _c(x, y) / y, x / _c(x, y), 2 / _c(x, y), _c(x, y).reciprocal()),
        (X, Y),
    ),
    "functions": (
        lambda x, y: (_c(x, y).exp(), _c(x, y).log(), _c(x, y).square(), _c(x, y) ** 2, _c(x, y).conj()),
        (X, Y),
    ),
    "matrices": (lambda x, y: (_c(x, y) @ _c(y, x).mT, _c(x, y) @ y.mT.to(torch.complex64)), (X, Y)),
    "shapes": (
        lambda x, y: (
            _c(x, y).reshape(4, 6).mT[1:],
            torch.cat([_c(x, y), x.to(torch.complex64)], 1),
            torch.stack([_c(x, y), _c(y, x)]).sum(0),
            _c(x, y).flip(0).roll(1, 1),
            _c(x, y)[:, torch.tensor([0, 3])],
            torch.where(x > 0, _c(x, y), _c(y, x)),
            _c(x, y).masked_fill(x > 0, 2.0),
            _c(x, y).split(4, 1),
        ),
        (X, Y),
    ),
    "double": (lambda x, y: (_c(x.double(), y.double()) * 1j, _c(x, y).to(torch.complex128).abs()), (X, Y)),
    "rfft": (lambda x: (torch.fft.rfft(x), torch.fft.rfft(x, n=6, dim=0, norm="ortho"), torch.fft.rfft(x, 5)), (X,)),
    "irfft": (lambda x: (torch.fft.irfft(torch.fft.rfft(x), n=7), torch.fft.irfft(_c(x, x), norm="forward")), (X,)),
    "fft": (
        lambda x, y: (torch.fft.fft(x), torch.fft.fft(_c(x, y), 10, 0), torch.fft.ifft(_c(x, y), norm="ortho")),
        (X, Y),
    ),
    "several axes": (
        lambda x: (
            torch.fft.fft2(x),
            torch.fft.ifftn(torch.fft.fftn(x, norm="forward"), dim=(0, 2)),
            torch.fft.rfftn(x),
            torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho"), s=(3, 4)),
        ),
        (A,),
    ),
    "Hermitian": (lambda x, y: (torch.fft.hfft(_c(x, y)), torch.fft.ihfft(x)), (X, Y)),
    "shifts": (
        lambda x: (torch.fft.fftshift(torch.fft.fft(x)), torch.fft.ifftshift(x), x + torch.fft.fftfreq(8)),
        (X,),
    ),
    "stft": (lambda x, w: torch.stft(x, 8, 4, window=w, return_complex=True), (SIGNAL, WINDOW)),
    "stft of one signal": (
        lambda x, w: torch.stft(x, 8, 3, 6, w[1:7], pad_mode="constant", normalized=True, return_complex=True).abs(),
        (SIGNAL[0], WINDOW),
    ),
    "stft not centered": (
        lambda x: torch.stft(x, 8, center=False, onesided=False, window=torch.ones(8), return_complex=True),
        (SIGNAL,),
    ),
    "istft": (
        lambda x, w: torch.istft(torch.stft(x, 8, 2, window=w, return_complex=True) * 0.5, 8, 2, window=w, length=37),
        (SIGNAL, WINDOW),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_complex(name: str) -> None:
    function, inputs = CASES[name]
    check(function, *inputs)


def _kinds(module: Module) -> set[str]:
    return {str(t.type.dtype) for n in module.main for t in (*n.inputs, *n.outputs) if t is not None}


class Rotary(torch.nn.Module):
    """Llama's rotary embedding as its authors wrote it, with a complex buffer."""

    table: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(16.0), 0.1 ** torch.arange(4.0))
        self.register_buffer("table", torch.polar(torch.ones_like(angles), angles))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.table[: x.shape[1], None]).flatten(3).type_as(x)


def test_rotary_embedding_has_no_complex_numbers() -> None:
    x = torch.randn(2, 7, 3, 8, generator=G)
    shapes = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=16)},)
    module = check(Rotary(), x, dynamic_shapes=shapes, others=[[x[:1, :3]], [x.repeat(1, 2, 1, 1)]])
    assert "c64" not in _kinds(module)
    assert len(list(uair.optimize(module).main)) <= 17


def test_spectrogram_of_open_length() -> None:
    def mel(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.stft(x, 8, 4, window=w, return_complex=True).abs().square()

    shapes = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=16)}, None)
    others = [[SIGNAL[:1, :21], WINDOW], [SIGNAL.repeat(1, 2), WINDOW]]
    module = check(mel, SIGNAL, WINDOW, dynamic_shapes=(shapes,), others=others)
    assert "c64" not in _kinds(module)


def test_from_a_file(tmp_path: Path) -> None:
    """Without torch nothing is decomposed: its functions are imported as they are."""

    def function(x: torch.Tensor, w: torch.Tensor) -> Any:
        spectrum = torch.stft(x, 8, 2, window=w, return_complex=True)
        again = torch.istft(spectrum, 8, 2, window=w)
        return spectrum, again, torch.fft.irfft2(torch.fft.rfft2(x)), torch.fft.ifft(torch.fft.fft(x, norm="ortho"))

    model = Function(function).eval()
    torch.export.save(torch.export.export(model, (SIGNAL, WINDOW), strict=False), tmp_path / "model.pt2")
    compare(uair.load(tmp_path / "model.pt2"), model, (SIGNAL, WINDOW), None, 1e-4)


def test_complex_inputs() -> None:
    z = _c(X, Y)
    check(lambda a, b: a * b + a, z, z + 1)
    with pytest.raises(uair.UairError, match="parts of a complex input") as caught:
        uair.load(Function(lambda a: a.abs()), z)
    assert "view_as_complex" in caught.value.hint
