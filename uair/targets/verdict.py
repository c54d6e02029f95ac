"""What a target answers about a node."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import attrs


class Support(enum.Enum):
    """How much of a node a target takes. The text is the spelling in device description files and reports."""

    SUPPORTED = "supported"
    """It runs on the device, as it is or through a rewrite that UAIR applies."""
    PARTIAL = "partial"
    """The vendor's toolchain takes it at a price: the CPU or a slower unit does it, or it is split into many steps."""
    UNKNOWN = "unknown"
    """No source says, or it depends on a size that is not known yet."""
    UNSUPPORTED = "unsupported"
    """The vendor's toolchain refuses it or gives wrong results."""

    @property
    def rank(self) -> int:
        """0 for the best answer, 3 for the worst."""
        return _RANKS[self]

    def __str__(self) -> str:
        return self.value


_RANKS = {support: rank for rank, support in enumerate(Support)}


class Confidence(enum.Enum):
    """How sure a fact is."""

    MEASURED = "measured"
    """Seen with the vendor's tool or device."""
    DOCUMENTED = "documented"
    """Stated by the vendor's documents or source code."""
    UNCERTAIN = "uncertain"
    """Inferred, from press or from memory: to be verified before it is relied upon."""

    def __str__(self) -> str:
        return self.value


@attrs.frozen
class Source:
    """Where a fact comes from.

    Attributes:
        document: title or repository and path.
        version: of the document or of the tool that was measured.
        confidence: how sure facts from it are, unless a fact says otherwise.
    """

    document: str
    version: str = ""
    confidence: Confidence = Confidence.DOCUMENTED

    def __str__(self) -> str:
        return f"{self.document}, {self.version}" if self.version else self.document


@attrs.frozen
class NodeVerdict:
    """A target's answer about one node.

    Attributes:
        support: how much it takes, after the rewrites in `through`.
        reason: in words; empty for a plain yes.
        clause: the part of a constraint that is false (or cannot be decided), as it stands in the description.
        values: the values that the names in `clause` had, e.g. "kernel_h = 33".
        source: where the knowledge comes from.
        confidence: how sure it is.
        through: rewrites that the answer presumes, e.g. "decompose HardSwish"; the target's legalisation applies them.
        suggestion: what would make the node fit, or fit better.
        stays: whether a partial answer stays on the accelerator (split into steps, but not handed to the CPU).
    """

    support: Support
    reason: str = ""
    clause: str = ""
    values: str = ""
    source: Source | None = None
    confidence: Confidence = Confidence.DOCUMENTED
    through: tuple[str, ...] = ()
    suggestion: str = ""
    stays: bool = False

    @property
    def on_device(self) -> bool:
        """Whether the node stays on the accelerator."""
        return self.support is Support.SUPPORTED or (self.support is Support.PARTIAL and self.stays)

    def to_json(self) -> dict[str, Any]:
        """Plain data; empty fields are left out."""
        result: dict[str, Any] = {
            "support": self.support.value,
            "on_device": self.on_device,
            "confidence": self.confidence.value,
        }
        for key in ("reason", "clause", "values", "suggestion"):
            if getattr(self, key):
                result[key] = getattr(self, key)
        if self.source is not None:
            result["source"] = str(self.source)
        if self.through:
            result["through"] = list(self.through)
        return result

    def __str__(self) -> str:
        text = self.support.value
        if self.through:
            text += f" after rewrite: {', '.join(self.through)}"
        if self.reason:
            text += f": {self.reason}"
        if self.source is not None:
            text += f" [{self.source}]"
        return text


def worst(verdicts: Iterable[NodeVerdict]) -> NodeVerdict:
    """The verdict of least support; the first of equals."""
    return max(verdicts, key=lambda v: v.support.rank)
