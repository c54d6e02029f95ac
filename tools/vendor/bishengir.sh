#!/usr/bin/env bash
# The front half of Huawei's BiSheng compiler for Ascend 910B (bishengir-compile, bishengir-opt) and what runs its LLVM
# dialect on this machine: mlir-translate of LLVM 19, the version that it is built on, from Debian 12, and llvmlite.
# Needs apt (Debian 12 or a system that reads its packages); changes nothing of the system.
set -euo pipefail

home=$1
root=$home/root
work=$home/packages
"$home/bin/python" -m pip install --quiet --disable-pip-version-check ascendnpu-ir==1.2.0 llvmlite==0.45.1 numpy==2.3.5
mkdir -p "$root" "$work/lists/partial" "$work/cache/archives/partial" "$work/deb"
: >"$work/status"
# apt with a state of its own, as mlir-translate is wanted here and nowhere else
apt() {
  apt-get -qq -o Dir::State="$work" -o Dir::State::Lists="$work/lists" -o Dir::State::status="$work/status" \
    -o Dir::Cache="$work/cache" -o APT::Architecture=amd64 -o APT::Sandbox::User=root \
    -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null "$@"
}
mirror=$(grep -rhoE '(https?|mirror\+file)://[^ ]*/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -1 || true)
key=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$key] ${mirror:-http://deb.debian.org/debian} bookworm main" >"$work/sources.list"
apt update
cd "$work/deb"
apt download mlir-19-tools libllvm19 libz3-4 libedit2 libbsd0 libmd0 libxml2 libicu72 libtinfo6
for package in *.deb; do dpkg -x "$package" "$root"; done
cd "$home"
rm -rf "$work"
# The tools by stable paths: bin/ of this environment.
binaries=$("$home/bin/python" -c 'import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec("ascendnpuir").origin).parent / "bin")')
chmod +x "$binaries"/*
ln -sf "$binaries/bishengir-compile" "$binaries/bishengir-opt" "$home/bin/"
cat >"$home/bin/mlir-translate" <<SCRIPT
#!/bin/sh
LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu exec $root/usr/lib/llvm-19/bin/mlir-translate "\$@"
SCRIPT
chmod +x "$home/bin/mlir-translate"
"$home/bin/mlir-translate" --version >/dev/null
"$home/bin/bishengir-compile" --version >/dev/null
