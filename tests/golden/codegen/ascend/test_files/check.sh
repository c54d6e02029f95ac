#!/usr/bin/env bash
# Asks ATC which operators of model.onnx it takes for Ascend310, without compiling: check_result.json.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() {
    echo "check.sh: $1" >&2
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

rm -f check_result.json
atc \
    --mode=3 \
    --model=model.onnx \
    --framework=5 \
    --soc_version=Ascend310 \
    --check_report=check_result.json || true # what counts is the report
[ -s check_result.json ] || fail "ATC wrote no check_result.json"
cat check_result.json
