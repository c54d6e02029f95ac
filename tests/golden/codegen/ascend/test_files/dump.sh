#!/usr/bin/env bash
# Writes model.om.json, the compiled model as ATC sees it after build.sh, and model.onnx.json.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() {
    echo "dump.sh: $1" >&2
    exit 1
}

if ! command -v atc > /dev/null; then
    for environment in "${ASCEND_TOOLKIT_HOME:-/usr/local/Ascend/ascend-toolkit/latest}/../set_env.sh" \
        "/usr/local/Ascend/ascend-toolkit/set_env.sh" \
        "${HOME:-}/Ascend/ascend-toolkit/set_env.sh" \
        "/usr/local/Ascend/cann/set_env.sh"; do
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
# On a machine without the chip ATC needs the driver's stubs.
stubs="${ASCEND_TOOLKIT_HOME:-/nowhere}/$(uname -m)-linux/devlib"
if [ -d "$stubs" ]; then
    export LD_LIBRARY_PATH="$stubs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

atc --mode=1 --framework=5 --om=model.onnx --json=model.onnx.json
for result in model.om model_*.om; do
    if [ -s "$result" ]; then
        atc --mode=1 --om="$result" --json=model.om.json
        exit 0
    fi
done
fail "there is no model.om: run build.sh first"
