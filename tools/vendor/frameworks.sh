#!/usr/bin/env bash
# PyTorch, TensorFlow with Keras, the LiteRT interpreter and transformers, with what UAIR and its tests need: the tests in
# tests/frameworks/ hold UAIR's frontends against the frameworks themselves, in one process, with this Python. UAIR is not
# installed: pytest finds it in the checkout.
set -euo pipefail

home=$1
pip() { "$home/bin/python" -m pip "$@" --quiet --quiet --disable-pip-version-check; }
# This version alone has a CPU build under the plain name; others bring gigabytes of CUDA.
pip install torch==2.13.0
# Built for CUDA; of it only the models are used, whose Python runs beside PyTorch for CPUs.
pip install --no-deps torchvision==0.28.0
# PT2E's quantization and quantized weights; its kernels for GPUs are not loaded.
pip install --no-deps torchao==0.18.0
pip install tensorflow-cpu==2.21.0 keras==3.15.1 transformers==5.24.0 ai-edge-litert==2.3.0 h5py
pip install attrs click filecheck flatbuffers google-re2 hypothesis lark ml_dtypes networkx numpy onnx onnxruntime pillow \
  pytest pytest-xdist pyyaml rich safetensors sympy tomli typing_extensions
