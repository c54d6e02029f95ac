#!/usr/bin/env bash
# Builds model.plan with trtexec of TensorRT 8: JetPack 5.1 (8.5.2) and 6.0 (8.6.2).
# Run it on the device: engines fit neither other GPUs nor other versions. Writes model.plan, layers.json and logs here.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() {
    echo "${0##*/}: $1" >&2
    exit 1
}

export PATH="$PATH:/usr/src/tensorrt/bin"
command -v trtexec > /dev/null || fail "trtexec was not found: install TensorRT"
version="${TENSORRT_VERSION:-$(dpkg-query -W -f='${Version}' "libnvinfer8" 2> /dev/null || true)}"
case "$version" in
    '' | 8.*) ;;
    *) fail "this is TensorRT $version, the script is for 8" ;;
esac
# The header of a calibration cache names the version that takes it.
case "$version" in
    8.5*) cache=implicit/calibration_8502.cache ;;
    *) cache=implicit/calibration_8602.cache ;;
esac
calibration=("--calib=$cache")

rm -f model.plan layers.json
trtexec \
    --onnx=implicit/model.onnx \
    --saveEngine=model.plan \
    --buildOnly \
    --int8 \
    --fp16 \
    --precisionConstraints=prefer \
    --layerPrecisions=stem:int8,depthwise:int8,no_bias:int8,fc:int8 \
    --useDLACore=0 \
    --allowGPUFallback \
    --memPoolSize=workspace:4096 \
    --builderOptimizationLevel=3 \
    --profilingVerbosity=detailed \
    --exportLayerInfo=layers.json \
    --timingCacheFile=timing.cache \
    "${calibration[@]}" 2>&1 | tee build.log
[ -s model.plan ] || fail "trtexec wrote no model.plan, see build.log"

# An engine counts when it can be loaded and run.
trtexec \
    --loadEngine=model.plan \
    --useDLACore=0 \
    --iterations=10 \
    --warmUp=0 \
    --duration=0 2>&1 | tee run.log
mkdir -p triton/tensorrt/net/1 && cp model.plan triton/tensorrt/net/1/
echo "model.plan is ready"
