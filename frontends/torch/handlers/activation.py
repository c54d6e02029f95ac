"""Activations."""

from __future__ import annotations

from uair.frontends.torch.node import Family

FAMILY = Family()
