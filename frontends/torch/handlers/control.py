"""Control flow: cond, while_loop."""

from __future__ import annotations

from uair.frontends.torch.node import Family

FAMILY = Family()
