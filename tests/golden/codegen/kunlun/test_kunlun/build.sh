#!/usr/bin/env bash
# Converts model.onnx to Paddle's format with x2paddle 1.6.0 and checks the result on this machine's CPU.
#
#   PYTHON=/path/to/python sh build.sh
#
# PYTHON is a Python with paddlepaddle 3 (or its XPU build), x2paddle 1.6.0 and onnx 1.17.
# Writes paddle/ and build.log.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python="${PYTHON:-python3}"

fail() {
    echo "build.sh: $1" >&2
    exit 1
}

rm -rf paddle
# --disable_feedback: x2paddle reports conversions to its authors otherwise.
"$python" -c 'import sys; from x2paddle.convert import main; sys.exit(main())' \
    --framework onnx --model model.onnx --save_dir paddle --disable_feedback True 2>&1 | tee build.log
# x2paddle ends with status 0 even when Paddle refuses what it made.
[ -s paddle/inference_model/model.pdiparams ] || fail "x2paddle wrote no model, see build.log"
"$python" run_paddle_xpu.py --device cpu
echo "paddle/inference_model is ready: run_paddle_xpu.py runs it on an XPU"
