"""What differs from chip to chip for ATC, beside the device descriptions.

Source: hicann/ge, api/atc/atc_flags.cc and docs, CLI_options (values of --soc_version; which chips take which option).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from uair.errors import InternalError


@attrs.frozen
class Chip:
    """One target's chips.

    Attributes:
        soc_versions: values of --soc_version: "Ascend" and the name that npu-smi shows.
        newest: releases of CANN from this one on do not know the chip; empty when none is known.
        newer_options: whether a release that has the options of CANN 9.2 supports the chip.
        ranges: whether sizes may stay open (-1, or a range in --input_shape).
        vector_core: whether --core_type=VectorCore exists.
        split_cores: whether --aicore_num is cube|vector.
        bf16: whether the mixed_bfloat16 modes exist.
        sparse: whether --sparsity exists.
        padded_width: greatest width of what AIPP pads; None where no source says.
    """

    soc_versions: tuple[str, ...]
    newest: str = ""
    newer_options: bool = True
    ranges: bool = False
    vector_core: bool = False
    split_cores: bool = False
    bf16: bool = False
    sparse: bool = False
    padded_width: int | None = None


CHIPS: Mapping[str, Chip] = {
    "ascend310": Chip(("Ascend310",), newest="9.2", newer_options=False),
    "ascend310p": Chip(
        ("Ascend310P1", "Ascend310P3", "Ascend310P5", "Ascend310P7"), ranges=True, vector_core=True, padded_width=1080
    ),
    "ascend310b": Chip(
        ("Ascend310B1", "Ascend310B2", "Ascend310B3", "Ascend310B4"), bf16=True, sparse=True, padded_width=4096
    ),
    "ascend910b": Chip(
        ("Ascend910B1", "Ascend910B2", "Ascend910B2C", "Ascend910B3", "Ascend910B4", "Ascend910B4-1"),
        ranges=True,
        split_cores=True,
        bf16=True,
        sparse=True,
        padded_width=4096,
    ),
}


def chip_of(target: str) -> Chip:
    """The chips of a target.

    Raises:
        InternalError: it is no Ascend target.
    """
    if target not in CHIPS:
        raise InternalError(f"nothing is known about the chips of {target!r}")
    return CHIPS[target]
