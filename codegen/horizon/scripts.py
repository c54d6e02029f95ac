"""build.sh and deploy.sh. Commands and messages: D-Robotics rdk_doc, ptq_process.md; S100 OpenExplorer 3.5.0."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from uair.codegen.horizon.config import MODEL, PREFIX, WORKING
from uair.codegen.horizon.inputs import InputSpec
from uair.codegen.horizon.options import Chip

RESULT = {"hb_mapper": f"{WORKING}/{PREFIX}.bin", "hb_compile": f"{WORKING}/{PREFIX}.hbm"}


def build_script(chip: Chip, inputs: Sequence[InputSpec]) -> str:
    """build.sh: check, compile, predict the speed."""
    steps = _mapper_steps(chip, inputs) if chip.tool == "hb_mapper" else _compile_steps(chip)
    return BUILD.format(tool=chip.tool, march=chip.march, result=RESULT[chip.tool], steps=steps)


def deploy_script(chip: Chip) -> str:
    """deploy.sh, to be run on the board."""
    return DEPLOY.format(name=RESULT[chip.tool].rpartition("/")[2], march=chip.march)


def _mapper_steps(chip: Chip, inputs: Sequence[InputSpec]) -> str:
    shapes = "".join(
        f" \\\n    --input-shape {shlex.quote(each.name)} {'x'.join(map(str, each.shape))}" for each in inputs
    )
    return f"""\
# Which node runs where: a table in hb_mapper_checker.log.
run checker.log hb_mapper checker --model-type onnx --march {chip.march} --model {MODEL}{shapes}
run makertbin.log hb_mapper makertbin --config config.yaml --model-type onnx
grep -q "Convert to runtime bin file successfully" makertbin.log hb_mapper_makertbin.log 2> /dev/null \\
    || fail "hb_mapper did not report success, see makertbin.log"
[ -s "$result" ] || fail "hb_mapper reported success but wrote no $result"
if command -v hb_perf > /dev/null; then run perf.log hb_perf "$result"; fi
"""


def _compile_steps(chip: Chip) -> str:
    return """\
run compile.log hb_compile -c config.yaml
[ -s "$result" ] || fail "hb_compile wrote no $result, see compile.log"
if command -v hb_model_info > /dev/null; then run info.log hb_model_info "$result"; fi
"""


BUILD = """\
#!/usr/bin/env bash
# Compiles the model for {march} with {tool}, a part of Horizon's OpenExplorer (a Docker image). No board is needed.
# Writes {result} and logs beside this script.
[ -n "${{BASH_VERSION:-}}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${{BASH_SOURCE[0]}}")"
result={result}

fail() {{
    echo "build.sh: $1" >&2
    exit 1
}}

run() {{
    local log=$1 status=0
    shift
    "$@" 2>&1 | tee "$log" || status=$?
    [ "$status" -eq 0 ] || fail "$1 failed with status $status, see $log"
}}

command -v {tool} > /dev/null || fail "{tool} was not found: run this in the Docker image of OpenExplorer"
rm -f "$result" hb_mapper_makertbin.log
{steps}echo "$result is ready"
"""

DEPLOY = """\
#!/usr/bin/env bash
# Runs the compiled model on a board with {march} and measures it. Copy it there together with {name}.
[ -n "${{BASH_VERSION:-}}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${{BASH_SOURCE[0]}}")"
model=${{1:-{name}}}
if [ ! -f "$model" ] && [ -f "model_output/$model" ]; then model="model_output/$model"; fi

if [ ! -f "$model" ]; then
    echo "deploy.sh: there is no $model: run build.sh first" >&2
    exit 1
fi
if ! command -v hrt_model_exec > /dev/null; then
    echo "deploy.sh: hrt_model_exec was not found: it belongs to the board's system" >&2
    exit 1
fi
hrt_model_exec model_info --model_file "$model"
hrt_model_exec perf --model_file "$model" --core_id 0 --thread_num 1 --frame_count 200 --profile_path .
"""
