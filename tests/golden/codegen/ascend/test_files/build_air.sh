#!/usr/bin/env bash
# Compiles model.air for Ascend310 with ATC, Huawei's offline compiler.
# For CANN 6.0, or a later release that knows the chip. No device is needed.
# Writes model-air.om and atc.log beside this script. On a small board export before:
#   TE_PARALLEL_COMPILER=1 MAX_COMPILE_CORE_NUMBER=1
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() {
    echo "build_air.sh: $1" >&2
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

rm -f model-air.om model-air_*.om
status=0
atc \
    --model=model.air \
    --framework=1 \
    --output=model-air \
    --soc_version=Ascend310 \
    --input_format=NCHW \
    --precision_mode=force_fp16 \
    --log=error \
    --insert_op_conf=aipp.cfg \
    --enable_small_channel=1 2>&1 | tee atc.log || status=$?
[ "$status" -eq 0 ] || fail "ATC failed with status $status, see atc.log"
grep -q "ATC run success" atc.log || fail "ATC did not report success, see atc.log"

# Later releases add the host's system to the name.
for result in model-air.om model-air_*.om; do
    if [ -s "$result" ]; then
        echo "$result is ready"
        exit 0
    fi
done
fail "ATC reported success but wrote no model-air.om"
