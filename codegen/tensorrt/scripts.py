"""The shell scripts that build an engine on the device, one for each generation of TensorRT."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import attrs

from uair.codegen.tensorrt.flags import MAJORS, Command, Major

PLAN, LAYERS, TIMING = "model.plan", "layers.json", "timing.cache"
RELEASES: Mapping[Major, str] = {
    8: "JetPack 5.1 (8.5.2) and 6.0 (8.6.2)",
    10: "JetPack 6.1 and 6.2 (10.3)",
    11: "JetPack 7.2.2 and later (11.4.1)",
}
SCRIPTS: Mapping[Major, str] = {major: f"build_trt{major}.sh" for major in MAJORS}


@attrs.frozen
class Profile:
    """The shapes that an engine is built for.

    Attributes:
        least: smallest shape by input name.
        best: the shape that is optimised for.
        most: greatest shape.
    """

    least: Mapping[str, tuple[int, ...]]
    best: Mapping[str, tuple[int, ...]]
    most: Mapping[str, tuple[int, ...]]

    @property
    def is_dynamic(self) -> bool:
        """Whether any size is left open."""
        return self.least != self.most

    def flags(self) -> list[str]:
        """--minShapes, --optShapes, --maxShapes; none for a model of fixed sizes."""
        if not self.is_dynamic:
            return []
        named = {"--minShapes": self.least, "--optShapes": self.best, "--maxShapes": self.most}
        return [f"{flag}={shapes_text(shapes)}" for flag, shapes in named.items()]

    def to_json(self) -> dict[str, dict[str, list[int]]]:
        """By input name."""
        parts = {"min": self.least, "opt": self.best, "max": self.most}
        return {name: {key: list(part[name]) for key, part in parts.items()} for name in self.best}


def profile_of(shapes: Sequence[Mapping[str, tuple[int, ...]]], best: int) -> Profile:
    """One profile around all shapes.

    Args:
        shapes: by input name, one mapping for each bucket.
        best: the bucket that is optimised for.
    """
    names = list(shapes[0])
    columns = {name: [each[name] for each in shapes] for name in names}
    least = {name: tuple(map(min, zip(*column, strict=True))) for name, column in columns.items()}
    most = {name: tuple(map(max, zip(*column, strict=True))) for name, column in columns.items()}
    return Profile(least, dict(shapes[best]), most)


def shapes_text(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """`x:1x3x224x224,ids:1x64`; a scalar has no extents."""
    return ",".join(f"{name}:{'x'.join(map(str, shape)) or 'scalar'}" for name, shape in shapes.items())


@attrs.frozen
class Plan:
    """What the scripts are to do.

    Attributes:
        models: the ONNX file for each generation that reads one.
        int8: whether the model holds quantization, or a cache says it.
        half: whether floats may be computed in f16.
        profile: shapes.
        dla: the accelerator to use; None for the GPU alone.
        workspace: MiB that the builder may use.
        effort: builderOptimizationLevel.
        caches: calibration cache by the digits of the version, for implicit quantization.
        int8_layers: layers that are to compute on integers, for implicit quantization.
        missing: ONNX operators of the model that a version lacks, by version.
        copies: folders that the engine is copied to.
        sparse: whether weights have two zeros in every four, which the GPU can skip.
        four_bits: whether weights are stored in 4 bits: TensorRT 10 then keeps to the model's own types, too.
    """

    models: Mapping[Major, str]
    int8: bool
    half: bool
    profile: Profile
    dla: int | None
    workspace: int
    effort: int
    caches: Mapping[str, str]
    int8_layers: tuple[str, ...]
    missing: Mapping[str, tuple[str, ...]]
    copies: tuple[str, ...]
    sparse: bool = False
    four_bits: bool = False

    def command(self, major: Major) -> Command:
        """The call that builds."""
        flags = [
            f"--onnx={self.models[major]}",
            f"--saveEngine={PLAN}",
            "--buildOnly" if major == 8 else "--skipInference",
        ]
        flags += [*self._precision(major), *self.profile.flags()]
        if self.dla is not None:
            flags += [f"--useDLACore={self.dla}", "--allowGPUFallback"]
        flags += [f"--memPoolSize=workspace:{self.workspace}", f"--builderOptimizationLevel={self.effort}"]
        flags += ["--sparsity=enable"] if self.sparse else []
        flags += ["--profilingVerbosity=detailed", f"--exportLayerInfo={LAYERS}", f"--timingCacheFile={TIMING}"]
        return Command(major, tuple(flags))

    def _precision(self, major: Major) -> list[str]:
        """Which types the builder may choose from. From 11 on the model's own types decide."""
        if major == 11:
            return ["--adjustForDLA"] if self.dla is not None else []
        if self.four_bits:
            return ["--stronglyTyped"]
        flags = (["--int8"] if self.int8 else []) + (["--fp16"] if self.half or self.dla is not None else [])
        if self.caches and self.int8_layers:
            layers = ",".join(f"{name}:int8" for name in self.int8_layers)
            flags += ["--precisionConstraints=prefer", f"--layerPrecisions={layers}"]
        return flags

    def check_command(self, major: Major) -> Command:
        """The call that loads the engine and runs it a few times."""
        shapes = [f"--shapes={shapes_text(self.profile.best)}"] if self.profile.is_dynamic else []
        device = [f"--useDLACore={self.dla}"] if self.dla is not None else []
        return Command(
            major, (f"--loadEngine={PLAN}", *shapes, *device, "--iterations=10", "--warmUp=0", "--duration=0")
        )


def build_script(plan: Plan, major: Major) -> str:
    """build_trtN.sh."""
    if major not in plan.models:
        readers = " and ".join(str(each) for each in plan.models)
        return REFUSING.format(major=major, releases=RELEASES[major], readers=readers)
    return SCRIPT.format(
        major=major,
        releases=RELEASES[major],
        plan=PLAN,
        layers=LAYERS,
        refusal=_refusal(plan, major),
        cache=_choose_cache(plan, major),
        command=plan.command(major).lines(['"${calibration[@]}"'] if _cached(plan, major) else ()),
        check=plan.check_command(major).lines(),
        copies="".join(f"mkdir -p {shlex.quote(c)} && cp {PLAN} {shlex.quote(c)}/\n" for c in plan.copies),
    )


def _cached(plan: Plan, major: Major) -> dict[str, str]:
    """The caches of a generation by the digits of the version."""
    if major == 11:
        return {}
    return {digits: file for digits, file in plan.caches.items() if digits.startswith(str(major))}


def _choose_cache(plan: Plan, major: Major) -> str:
    caches = _cached(plan, major)
    if not caches:
        return ""
    *older, (_, newest) = sorted(caches.items())
    cases = "".join(f"    {digits[0]}.{digits[1]}*) cache={shlex.quote(file)} ;;\n" for digits, file in older)
    return f"""# The header of a calibration cache names the version that takes it.
case "$version" in
{cases}    *) cache={shlex.quote(newest)} ;;
esac
calibration=("--calib=$cache")
"""


def _refusal(plan: Plan, major: Major) -> str:
    """Lines that stop where this version's parser lacks an operator."""
    lines = ""
    for version, operators in plan.missing.items():
        if version.split(".")[0] == str(major) and operators:
            text = f"the ONNX parser of TensorRT {version} does not know {', '.join(operators)}"
            lines += f'case "$version" in {version}*) fail {shlex.quote(text)} ;; esac\n'
    return lines


SCRIPT = """\
#!/usr/bin/env bash
# Builds {plan} with trtexec of TensorRT {major}: {releases}.
# Run it on the device: engines fit neither other GPUs nor other versions. Writes {plan}, {layers} and logs here.
[ -n "${{BASH_VERSION:-}}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${{BASH_SOURCE[0]}}")"

fail() {{
    echo "${{0##*/}}: $1" >&2
    exit 1
}}

export PATH="$PATH:/usr/src/tensorrt/bin"
command -v trtexec > /dev/null || fail "trtexec was not found: install TensorRT"
version="${{TENSORRT_VERSION:-$(dpkg-query -W -f='${{Version}}' "libnvinfer{major}" 2> /dev/null || true)}}"
case "$version" in
    '' | {major}.*) ;;
    *) fail "this is TensorRT $version, the script is for {major}" ;;
esac
{refusal}{cache}
rm -f {plan} {layers}
{command} 2>&1 | tee build.log
[ -s {plan} ] || fail "trtexec wrote no {plan}, see build.log"

# An engine counts when it can be loaded and run.
{check} 2>&1 | tee run.log
{copies}echo "{plan} is ready"
"""

REFUSING = """\
#!/usr/bin/env bash
# TensorRT {major}, {releases}, does not read this model.
echo "${{0##*/}}: TensorRT {major} reads no weights of 4 bits, {readers} do: quantize with int8, or upgrade JetPack" >&2
exit 1
"""

CHOOSER = """\
#!/usr/bin/env bash
# Builds model.plan with the TensorRT of this device: calls build_trt8.sh, build_trt10.sh or build_trt11.sh.
# TENSORRT_VERSION (e.g. 10.3) says which, where it cannot be found out.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

version="${TENSORRT_VERSION:-}"
for major in 8 10 11; do
    [ -n "$version" ] || version="$(dpkg-query -W -f='${Version}' "libnvinfer$major" 2> /dev/null || true)"
done
case "$version" in
    8.* | 10.* | 11.*) export TENSORRT_VERSION="$version"; exec bash "build_trt${version%%.*}.sh" ;;
    '') echo "build.sh: TensorRT was not found; set TENSORRT_VERSION, or call the script of your version" >&2 ;;
    *) echo "build.sh: there is no script for TensorRT $version" >&2 ;;
esac
exit 1
"""
