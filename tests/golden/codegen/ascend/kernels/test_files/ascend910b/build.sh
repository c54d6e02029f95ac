#!/bin/sh
# Compiles the kernels. Needs bishengir-compile, and hivmc of CANN beside it.
set -eu
cd "$(dirname "$0")"
bishengir-compile add_softmax.mlir --enable-hfusion-compile --target=Ascend910B3 --block-dim=20 --hfusion-max-buffer-count-tuning=8 -o add_softmax.o
bishengir-compile add_layer_norm.mlir --enable-hfusion-compile --target=Ascend910B3 --block-dim=20 --hfusion-max-buffer-count-tuning=8 -o add_layer_norm.o
