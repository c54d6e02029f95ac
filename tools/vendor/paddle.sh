#!/usr/bin/env bash
# PaddlePaddle for CPUs and x2paddle, which turns ONNX into Paddle's format: what a Kunlunxin card is given.
set -euo pipefail

"$1/bin/python" -m pip install --quiet --disable-pip-version-check \
  paddlepaddle==3.3.1 x2paddle==1.6.0 "numpy==1.26.4" "onnx==1.17.0" "protobuf<5.30" setuptools sympy six ply tqdm pyyaml requests
