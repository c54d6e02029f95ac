#!/bin/sh
# Builds model.bin with pysuinfer on the card of this machine, runs it, and compares with the reference result.
#
#   PYTHON=/path/to/python sh build.sh [--device N] [--run-only]
#
# PYTHON is a Python that has pysuinfer 1.4 (suInfer 2.0, BIRENSUPA in /usr/local/birensupa).
set -eu
exec "${PYTHON:-python3}" "$(dirname "$0")/build_pysuinfer.py" "$@"
