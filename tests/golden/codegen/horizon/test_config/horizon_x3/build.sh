#!/usr/bin/env bash
# Compiles the model for bernoulli2 with hb_mapper, a part of Horizon's OpenExplorer (a Docker image). No board is needed.
# Writes model_output/model.bin and logs beside this script.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
result=model_output/model.bin

fail() {
    echo "build.sh: $1" >&2
    exit 1
}

run() {
    local log=$1 status=0
    shift
    "$@" 2>&1 | tee "$log" || status=$?
    [ "$status" -eq 0 ] || fail "$1 failed with status $status, see $log"
}

command -v hb_mapper > /dev/null || fail "hb_mapper was not found: run this in the Docker image of OpenExplorer"
rm -f "$result" hb_mapper_makertbin.log
# Which node runs where: a table in hb_mapper_checker.log.
run checker.log hb_mapper checker --model-type onnx --march bernoulli2 --model model.onnx \
    --input-shape image 1x3x12x10
run makertbin.log hb_mapper makertbin --config config.yaml --model-type onnx
grep -q "Convert to runtime bin file successfully" makertbin.log hb_mapper_makertbin.log 2> /dev/null \
    || fail "hb_mapper did not report success, see makertbin.log"
[ -s "$result" ] || fail "hb_mapper reported success but wrote no $result"
if command -v hb_perf > /dev/null; then run perf.log hb_perf "$result"; fi
echo "$result is ready"
