#!/bin/sh
# Builds model.rknn with rknn-toolkit2, simulates it on this machine, and compares with the reference result.
#
#   PYTHON=/path/to/toolkit/bin/python sh build.sh [--output FOLDER] [--no-simulation]
#
# PYTHON is a Python 3.11 that has rknn-toolkit2 2.5.0, in an environment of its own: the toolkit
# needs older releases of numpy and onnx than other tools. build.py tells what it writes and what its exit status means.
set -eu
exec "${PYTHON:-python3}" "$(dirname "$0")/build.py" "$@"
