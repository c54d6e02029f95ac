#!/usr/bin/env bash
# An aarch64 Linux in a folder, for qemu: Debian's Python 3.11 with the official wheels of NumPy and onnxruntime, as a
# Phytium machine has them. Needs apt (Debian 12 or a system that reads its packages); changes nothing of the system.
set -euo pipefail

home=$1
root=$home/root
work=$home/packages
mkdir -p "$root" "$work/lists/partial" "$work/cache/archives/partial" "$work/deb"
: >"$work/status"
# apt with a state of its own, in which Debian's arm64 stands beside amd64
apt() {
  apt-get -qq -o Dir::State="$work" -o Dir::State::Lists="$work/lists" -o Dir::State::status="$work/status" \
    -o Dir::Cache="$work/cache" -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 \
    -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null "$@"
}
mirror=$(grep -rhoE '(https?|mirror\+file)://[^ ]*/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -1 || true)
key=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$key] ${mirror:-http://deb.debian.org/debian} bookworm main" >"$work/sources.list"
apt update
cd "$work/deb"
apt download qemu-user-static:amd64 python3.11-minimal:arm64 libpython3.11-minimal:arm64 libpython3.11-stdlib:arm64 \
  libc6:arm64 libstdc++6:arm64 libgcc-s1:arm64 zlib1g:arm64 libexpat1:arm64 libssl3:arm64 libffi8:arm64 libbz2-1.0:arm64 \
  liblzma5:arm64 libcrypt1:arm64 libuuid1:arm64 libtinfo6:arm64 libncursesw6:arm64 libreadline8:arm64 libsqlite3-0:arm64
for package in *_arm64.deb; do dpkg -x "$package" "$root"; done
dpkg -x qemu-user-static_*_amd64.deb "$home/qemu"
"$home/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$work/wheels" \
  --python-version 3.11 --implementation cp --abi cp311 \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
  numpy==2.3.5 onnxruntime==1.23.2
"$home/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$work/wheels" \
  --platform any coloredlogs humanfriendly flatbuffers packaging protobuf sympy mpmath
site=$root/usr/lib/python3/dist-packages
mkdir -p "$site"
for wheel in "$work"/wheels/*.whl; do "$home/bin/python" -m zipfile -e "$wheel" "$site"; done
"$home/qemu/usr/bin/qemu-aarch64-static" -L "$root" "$root/usr/bin/python3.11" -c \
  'import onnxruntime, platform; assert platform.machine() == "aarch64"'
