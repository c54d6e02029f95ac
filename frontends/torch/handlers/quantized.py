"""PT2E-quantized models."""

from __future__ import annotations

from uair.frontends.torch.node import Family

FAMILY = Family()
