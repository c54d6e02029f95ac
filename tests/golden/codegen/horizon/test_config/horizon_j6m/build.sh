#!/usr/bin/env bash
# Compiles the model for nash-m with hb_compile, a part of Horizon's OpenExplorer (a Docker image). No board is needed.
# Writes model_output/model.hbm and logs beside this script.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
result=model_output/model.hbm

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

command -v hb_compile > /dev/null || fail "hb_compile was not found: run this in the Docker image of OpenExplorer"
rm -f "$result" hb_mapper_makertbin.log
run compile.log hb_compile -c config.yaml
[ -s "$result" ] || fail "hb_compile wrote no $result, see compile.log"
if command -v hb_model_info > /dev/null; then run info.log hb_model_info "$result"; fi
echo "$result is ready"
