#!/usr/bin/env bash
# T-Head's HHB 3.2.3 with SHL, the library of its csinn operators, for x86 and RISC-V; and a C compiler for RISC-V where apt
# can install one. HHB's TVM is built for Python 3.8 and 3.10 only, but its library is not bound to one Python: the wheel is
# unpacked by hand. NumPy and ONNX of its time end with Python 3.11.
set -euo pipefail

home=$1
usable() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' 2>/dev/null; }
if ! usable "$home/bin/python"; then
  other=$(for name in python3.11 python3.10; do command -v "$name" || true; done | head -1)
  [ -n "$other" ] && usable "$other" || { echo "HHB needs Python 3.10 or 3.11 (Debian 12: apt install python3.11-venv)" >&2; exit 1; }
  "$other" -m venv --clear "$home"
fi
pip() { "$home/bin/python" -m pip "$@" --quiet --disable-pip-version-check; }
pip install numpy==1.26.4 onnx==1.14.1 onnxruntime==1.17.3 onnxsim==0.4.36 scipy==1.11.4 ml-dtypes==0.3.2 protobuf==3.20.3 \
  opencv-python-headless==4.8.1.78 pandas==2.1.4 setuptools==65.5.0 attrs cloudpickle decorator jsbeautifier psutil pyyaml \
  scikit-build tflite tornado tqdm typing-extensions
pip install --no-deps hhb==3.2.3 ppq==0.6.6
wheels=$home/wheels
pip download --no-deps hhb-tvm==3.2.3 --python-version 3.10 --platform manylinux2014_x86_64 --only-binary=:all: --dest "$wheels"
packages=$("$home/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
"$home/bin/python" -m zipfile -e "$wheels"/hhb_tvm-*.whl "$packages"
rm -r "$wheels"

# HHB imports PyTorch and Transformers for language models only, which nothing here compiles: modules that answer to every
# name stand in for 3 GB of them. TVM's compiled binding is for another Python; the one in ctypes does.
cat >"$packages/sitecustomize.py" <<'PYTHON'
import importlib.machinery
import os
import sys
from unittest import mock

os.environ.setdefault("TVM_FFI", "ctypes")
ABSENT = {"torch", "torchvision", "transformers", "datasets", "accelerate", "safetensors"}


class Absent:
    """Finds and makes modules of packages that are not installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, Absent, is_package=True)
        return None

    @staticmethod
    def create_module(spec):
        module = mock.MagicMock(name=spec.name)
        module.__spec__, module.__path__, module.__name__, module.__version__ = spec, [], spec.name, "0.0"
        return module

    @staticmethod
    def exec_module(module):
        pass


sys.meta_path.append(Absent)
PYTHON
"$home/bin/hhb" --version
ln -sfn "$packages/hhb/install_nn2" "$home/shl"

if ! command -v riscv64-linux-gnu-gcc >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends gcc-riscv64-linux-gnu libc6-dev-riscv64-cross >/dev/null
  else
    echo "riscv64-linux-gnu-gcc is missing: tests that link for RISC-V will fail (Debian: apt install gcc-riscv64-linux-gnu)" >&2
  fi
fi
