#!/usr/bin/env bash
# NVIDIA's Triton Inference Server, the CPU build of the pytriton wheel with its Python backend (no ONNX Runtime and no
# TensorRT backend in it), its client, and what the models of the tests import. NumPy below 2: with NumPy 2 this backend
# gives wrong data.
set -euo pipefail

"$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps nvidia-pytriton==0.7.0
"$1/bin/python" -m pip install --quiet --disable-pip-version-check \
  "numpy==1.26.4" onnxruntime==1.23.2 "tritonclient==2.60.0" "protobuf<7" grpcio python-rapidjson
packages=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
server=$packages/pytriton/tritonserver
chmod +x "$server/bin/tritonserver"
version=$("$1/bin/python" -c 'import sys; print(f"{sys.version_info.major}.{sys.version_info.minor}")')
stub=$(find "$server/python_backend_stubs/$version" -name triton_python_backend_stub)
install -m 755 "$stub" "$server/backends/python/triton_python_backend_stub"
