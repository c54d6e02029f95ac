#!/usr/bin/env bash
# Optimises the converted model for Paddle-Lite, the second route to an XPU: needs build.sh's paddle/ and
# paddle_lite_opt, which reads models in the format of Paddle 2 (model.pdmodel): convert with paddlepaddle 2 for it.
# VALID_TARGETS=kunlunxin_xtcl,x86 takes the graph compiler instead of the kernels.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

model=paddle/inference_model/model
if [ ! -s "$model.pdmodel" ]; then
    echo "build_lite.sh: $model.pdmodel is missing: run build.sh with paddlepaddle 2" >&2
    exit 1
fi
paddle_lite_opt \
    --model_file="$model.pdmodel" \
    --param_file="$model.pdiparams" \
    --valid_targets="${VALID_TARGETS:-xpu,x86}" \
    --optimize_out_type=naive_buffer \
    --optimize_out=model_lite
[ -s model_lite.nb ] || { echo "build_lite.sh: paddle_lite_opt wrote no model_lite.nb" >&2; exit 1; }
echo "model_lite.nb is ready"
