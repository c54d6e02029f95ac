#!/bin/sh
# Compiles hhb.onnx with HHB 3.2.3: C source and parameters (-C, the default), or an executable (-D, needs T-Head's
# compiler for RISC-V in PATH).
#
#   PATH=/path/to/hhb/bin:$PATH sh build_hhb.sh [-C | -D] [options of hhb]
#
# What it writes goes to hhb_out.
set -eu
cd "$(dirname "$0")"
case "${1:-}" in
  -C | -D) action=$1 && shift ;;
  *) action=-C ;;
esac
exec hhb "$action" --output hhb_out \
  --model-file hhb.onnx \
  --model-format onnx \
  --input-name x \
  --input-shape '1 3 8 8' \
  --output-name scores \
  --board x86_ref \
  --quantization-scheme int8_asym_w_sym \
  --calibrate-dataset calibration.npz "$@"
