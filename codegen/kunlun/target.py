"""The Kunlunxin targets: ONNX for x2paddle, and scripts that convert it and run it on an XPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

from uair.artifact import ArtifactBuilder
from uair.codegen.kunlun.emitters import EMITTERS
from uair.codegen.kunlun.tool import X2Paddle
from uair.codegen.onnx import Emitters
from uair.codegen.onnx.interface import drop_unused_inputs, legal_interface, ports
from uair.codegen.onnx.target import OnnxTarget
from uair.codegen.standalone import standalone
from uair.ir.module import Module
from uair.request import CompileRequest
from uair.targets.errors import OptionError
from uair.targets.options import TargetOptions, option, parse_options
from uair.targets.tool import VendorTool

MODEL, SETTINGS = "model.onnx", "run.json"
BUILD, RUN, LITE = "build.sh", "run_paddle_xpu.py", "build_lite.sh"
FOLDER = "paddle"
MANIFEST_KEY = "kunlun"
NAMES = "[A-Za-z][A-Za-z0-9_]*"
"""x2paddle makes variables of Python out of names."""


@attrs.frozen
class KunlunOptions(TargetOptions):
    """What a user may tell the target."""

    weights: Literal["default", "int16", "int8"] = option(
        "default", help="what the XPU quantizes weights to when it loads the model; the default is Paddle's"
    )
    encoder: Literal["int8", "int16", "int31"] = option("int16", help="precision of transformer encoders on the XPU")
    l3: int | None = option(None, help="bytes of the L3 that the model may use; all that is usable when not given")


class KunlunTarget(OnnxTarget):
    """A Kunlunxin card, driven by Paddle Inference."""

    emitters: ClassVar[Emitters | None] = EMITTERS
    names: ClassVar[str | None] = NAMES
    options: ClassVar[type[TargetOptions]] = KunlunOptions

    def check_request(self, request: CompileRequest) -> None:
        """Refuse quantized models, which x2paddle does not read, and more L3 than there is.

        Raises:
            OptionError: see there.
        """
        super().check_request(request)
        chosen = parse_options(KunlunOptions, request.options, self.name)
        if request.quantization is not None:
            raise OptionError(
                f"x2paddle reads no quantized ONNX: {self.name} takes no --quantize",
                hint="--option weights=int8 lets the XPU quantize weights itself",
            )
        most = self.description.memory_level("L3").bytes or 0
        if chosen.l3 is not None and not 0 <= chosen.l3 <= most:
            raise OptionError(f"l3 is {chosen.l3} bytes, the chip has {most} to use")

    def tool(self) -> VendorTool:
        """x2paddle."""
        return X2Paddle()

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write model.onnx, build.sh (x2paddle), run_paddle_xpu.py with run.json, and build_lite.sh.

        Raises:
            NotExpressible: an operator has no form that x2paddle reads.
        """
        chosen = parse_options(KunlunOptions, request.options, self.name)
        written = module.clone()
        unused = drop_unused_inputs(written.main)
        inputs, outputs = list(written.main.input_names), list(written.main.output_names)
        legal_interface(written.main, NAMES)
        self.write_onnx(written, artifact.path_for(MODEL))
        taken = ports(inputs, written.main.input_names, written.main.inputs)
        given = ports(outputs, written.main.output_names, written.main.outputs)
        settings: dict[str, Any] = {
            "schema": 1,
            "folder": FOLDER,
            "inputs": taken,
            "outputs": given,
            "xpu": self.xpu_settings(chosen),
            "golden": artifact.golden_files(),
        }
        artifact.add_json(SETTINGS, settings)
        artifact.add_text(BUILD, BUILD_SCRIPT.replace("@OUTPUT@", FOLDER), executable=True)
        artifact.add_text(LITE, LITE_SCRIPT.replace("@OUTPUT@", FOLDER), executable=True)
        script = standalone(Path(__file__).with_name("run_script.py"))
        artifact.add_text(RUN, script, executable=True)
        artifact.manifest[MANIFEST_KEY] = {
            "model": FOLDER,
            "inputs": taken,
            "outputs": given,
            "unused_inputs": unused,
            "xpu": settings["xpu"],
            "uncertain": _uncertain(chosen),
        }

    def xpu_settings(self, chosen: KunlunOptions) -> dict[str, Any]:
        """Arguments of Config.enable_xpu, and fields of XpuConfig. Source: paddlepaddle 3.3.1, asked."""
        usable = self.description.memory_level("L3").bytes or 0
        l3_size = usable if chosen.l3 is None else chosen.l3
        return {
            "enable": {
                "l3_size": l3_size,
                "l3_locked": False,
                "conv_autotune": True,
                "conv_autotune_file": "",
                "transformer_encoder_precision": chosen.encoder,
                "transformer_encoder_adaptive_seqlen": False,
                "enable_multi_stream": False,
            },
            "config": {"device_id": 0, "l3_size": l3_size, "l3_autotune_size": 0},
            "weights": chosen.weights,
        }


def _uncertain(chosen: KunlunOptions) -> list[str]:
    """What in the artifact no source settles."""
    found = ["which converted operators have kernels on the XPU; the others run on the CPU"]
    if chosen.weights != "default":
        found.append("the number that stands for a precision in XpuConfig.quant_post_dynamic_weight_precision")
    return found


BUILD_SCRIPT = """\
#!/usr/bin/env bash
# Converts model.onnx to Paddle's format with x2paddle 1.6.0 and checks the result on this machine's CPU.
#
#   PYTHON=/path/to/python sh build.sh
#
# PYTHON is a Python with paddlepaddle 3 (or its XPU build), x2paddle 1.6.0 and onnx 1.17.
# Writes @OUTPUT@/ and build.log.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python="${PYTHON:-python3}"

fail() {
    echo "build.sh: $1" >&2
    exit 1
}

rm -rf @OUTPUT@
# --disable_feedback: x2paddle reports conversions to its authors otherwise.
"$python" -c 'import sys; from x2paddle.convert import main; sys.exit(main())' \\
    --framework onnx --model model.onnx --save_dir @OUTPUT@ --disable_feedback True 2>&1 | tee build.log
# x2paddle ends with status 0 even when Paddle refuses what it made.
[ -s @OUTPUT@/inference_model/model.pdiparams ] || fail "x2paddle wrote no model, see build.log"
"$python" run_paddle_xpu.py --device cpu
echo "@OUTPUT@/inference_model is ready: run_paddle_xpu.py runs it on an XPU"
"""

LITE_SCRIPT = """\
#!/usr/bin/env bash
# Optimises the converted model for Paddle-Lite, the second route to an XPU: needs build.sh's @OUTPUT@/ and
# paddle_lite_opt, which reads models in the format of Paddle 2 (model.pdmodel): convert with paddlepaddle 2 for it.
# VALID_TARGETS=kunlunxin_xtcl,x86 takes the graph compiler instead of the kernels.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

model=@OUTPUT@/inference_model/model
if [ ! -s "$model.pdmodel" ]; then
    echo "build_lite.sh: $model.pdmodel is missing: run build.sh with paddlepaddle 2" >&2
    exit 1
fi
paddle_lite_opt \\
    --model_file="$model.pdmodel" \\
    --param_file="$model.pdiparams" \\
    --valid_targets="${VALID_TARGETS:-xpu,x86}" \\
    --optimize_out_type=naive_buffer \\
    --optimize_out=model_lite
[ -s model_lite.nb ] || { echo "build_lite.sh: paddle_lite_opt wrote no model_lite.nb" >&2; exit 1; }
echo "model_lite.nb is ready"
"""
