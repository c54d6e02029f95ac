"""The ATC command and the script that runs it.

Flags and their values are those of CANN 6.0. Sources: mindspore-ai/graphengine branch r1.9, ge/offline/main.cc; the
ATC chapters of hicann/ge, docs.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from uair.ir.dims import static
from uair.ir.graph import Graph

TOOLKITS = (
    "${ASCEND_TOOLKIT_HOME:-/usr/local/Ascend/ascend-toolkit/latest}/../set_env.sh",
    "/usr/local/Ascend/ascend-toolkit/set_env.sh",
    "${HOME:-}/Ascend/ascend-toolkit/set_env.sh",
    "/usr/local/Ascend/cann/set_env.sh",
)
SUCCESS = "ATC run success"
"""What ATC prints on standard output when it is done."""


@attrs.frozen
class AtcCommand:
    """One call of ATC.

    Attributes:
        model: the ONNX file.
        output: name of the result without ".om".
        soc: the chip.
        input_format: "NCHW", or "ND" for a model without images.
        input_shape: shapes by input name, as ATC wants them.
        aipp: the AIPP file; empty when there is none.
    """

    model: str
    output: str
    soc: str
    input_format: str
    input_shape: str
    aipp: str = ""

    def flags(self) -> list[str]:
        """The flags in order.

        force_fp16, ATC's default, is right for quantized models too: these exclude force_fp32 and
        must_keep_origin_dtype.
        """
        flags = [
            f"--model={self.model}",
            "--framework=5",
            f"--output={self.output}",
            f"--soc_version={self.soc}",
            f"--input_format={self.input_format}",
            f'--input_shape="{self.input_shape}"',
            "--precision_mode=force_fp16",
            "--log=error",
        ]
        if self.aipp:
            flags.append(f"--insert_op_conf={self.aipp}")
        return flags

    def script(self) -> str:
        """build.sh."""
        command = " \\\n    ".join(["atc", *self.flags()])
        toolkits = " \\\n        ".join(f'"{path}"' for path in TOOLKITS)
        return SCRIPT.format(soc=self.soc, output=self.output, command=command, toolkits=toolkits, success=SUCCESS)


def input_shapes(names: Sequence[str], graph: Graph) -> str:
    """The value of --input_shape: `x:1,3,224,224;ids:1,64`."""
    return ";".join(
        f"{name}:{','.join(map(str, static(tensor.type.dims)))}"
        for name, tensor in zip(names, graph.inputs, strict=True)
    )


def input_format(graph: Graph) -> str:
    """One format for all inputs: NCHW as soon as there is an image, ND for inputs of fewer axes.

    ND is what Huawei's own scripts give for language models (Ascend/ModelZoo-PyTorch, ACL_PyTorch/built-in/nlp).
    """
    return "ND" if all(t.type.rank < 4 for t in graph.inputs) else "NCHW"


SCRIPT = """\
#!/usr/bin/env bash
# Compiles the model for {soc} with ATC, Huawei's offline compiler (CANN 6.0, or a later release that knows the chip).
# No device is needed. Writes {output}.om and atc.log beside this script.
[ -n "${{BASH_VERSION:-}}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${{BASH_SOURCE[0]}}")"

fail() {{
    echo "build.sh: $1" >&2
    exit 1
}}

if ! command -v atc > /dev/null; then
    for environment in {toolkits}; do
        if [ -f "$environment" ]; then
            set +eu # the vendor's script reads variables that may be unset
            # shellcheck disable=SC1090
            source "$environment"
            set -eu
            break
        fi
    done
fi
command -v atc > /dev/null || fail "ATC was not found: install the CANN toolkit, or source its set_env.sh"

rm -f {output}.om {output}_*.om
status=0
{command} 2>&1 | tee atc.log || status=$?
[ "$status" -eq 0 ] || fail "ATC failed with status $status, see atc.log"
grep -q "{success}" atc.log || fail "ATC did not report success, see atc.log"

# Later releases add the host's system to the name.
for result in {output}.om {output}_*.om; do
    if [ -s "$result" ]; then
        echo "$result is ready"
        exit 0
    fi
done
fail "ATC reported success but wrote no {output}.om"
"""
