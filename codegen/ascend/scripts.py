"""The shell scripts of an artifact: build.sh, check.sh, dump.sh."""

from __future__ import annotations

from collections.abc import Sequence

from uair.codegen.ascend.atc import AtcCommand

TOOLKITS = (
    "${ASCEND_TOOLKIT_HOME:-/usr/local/Ascend/ascend-toolkit/latest}/../set_env.sh",
    "/usr/local/Ascend/ascend-toolkit/set_env.sh",
    "${HOME:-}/Ascend/ascend-toolkit/set_env.sh",
    "/usr/local/Ascend/cann/set_env.sh",
)
SUCCESS = "ATC run success"
"""What ATC prints on standard output when it is done."""
REPORT = "check_result.json"


def build_script(command: AtcCommand, release: str, newer: Sequence[str], name: str = "build.sh") -> str:
    """The script that compiles.

    Args:
        command: the call of ATC.
        release: the releases of CANN that can, in words.
        newer: options of the command that older releases do not have.
        name: the script's name.
    """
    asked = "".join(ASK.format(option=option.partition("=")[0]) for option in newer)
    return HEAD.format(
        name=name,
        purpose=f"Compiles {command.model} for {command.soc} with ATC, Huawei's offline compiler.\n"
        f"# {release} No device is needed.\n"
        f"# Writes {command.output}.om and atc.log beside this script. On a small board export before:\n"
        "#   TE_PARALLEL_COMPILER=1 MAX_COMPILE_CORE_NUMBER=1",
        toolkits=_toolkits(),
    ) + BUILD.format(
        output=command.output,
        asked=f"atc --help > atc.help 2>&1 || true\n{asked}rm -f atc.help\n\n" if asked else "",
        command=_call(command.flags()),
        success=SUCCESS,
    )


def check_script(model: str, framework: int, soc: str) -> str:
    """The script that asks ATC which operators it takes, without compiling."""
    flags = ["--mode=3", f"--model={model}", f"--framework={framework}", f"--soc_version={soc}"]
    head = HEAD.format(
        name="check.sh",
        purpose=f"Asks ATC which operators of {model} it takes for {soc}, without compiling: {REPORT}.",
        toolkits=_toolkits(),
    )
    return head + CHECK.format(command=_call([*flags, f"--check_report={REPORT}"]), report=REPORT)


def dump_script(model: str, framework: int, output: str, *, info: bool) -> str:
    """The script that turns the compiled model, and the model it was made of, into JSON.

    Args:
        model: the model it was made of.
        framework: what that is.
        output: name of the compiled model without ".om".
        info: whether ATC has --mode=6, which prints sizes and shapes of a compiled model.
    """
    head = HEAD.format(
        name="dump.sh",
        purpose=f"Writes {output}.om.json, the compiled model as ATC sees it after build.sh, and {model}.json.",
        toolkits=_toolkits(),
    )
    shown = '        atc --mode=6 --om="$result" || true # not in every release\n' if info else ""
    return head + DUMP.format(model=model, framework=framework, output=output, shown=shown)


def _toolkits() -> str:
    return " \\\n        ".join(f'"{path}"' for path in TOOLKITS)


def _call(flags: Sequence[str]) -> str:
    return " \\\n    ".join(["atc", *flags])


HEAD = """\
#!/usr/bin/env bash
# {purpose}
[ -n "${{BASH_VERSION:-}}" ] || exec bash "$0" "$@"
set -euo pipefail
cd "$(dirname "${{BASH_SOURCE[0]}}")"

fail() {{
    echo "{name}: $1" >&2
    exit 1
}}

if ! command -v atc > /dev/null; then
    for environment in {toolkits}; do
        if [ -f "$environment" ]; then
            set +eu # the vendor's script reads variables that may be unset
            # shellcheck disable=SC1090
            source "$environment"
            set -eu
            break
        fi
    done
fi
command -v atc > /dev/null || fail "ATC was not found: install the CANN toolkit, or source its set_env.sh"
# On a machine without the chip ATC needs the driver's stubs.
stubs="${{ASCEND_TOOLKIT_HOME:-/nowhere}}/$(uname -m)-linux/devlib"
if [ -d "$stubs" ]; then
    export LD_LIBRARY_PATH="$stubs${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
fi

"""

ASK = """\
grep -q -- "--{option}" atc.help || fail "this release of ATC has no --{option}"
"""

BUILD = """\
{asked}rm -f {output}.om {output}_*.om
status=0
{command} 2>&1 | tee atc.log || status=$?
[ "$status" -eq 0 ] || fail "ATC failed with status $status, see atc.log"
grep -q "{success}" atc.log || fail "ATC did not report success, see atc.log"

# Later releases add the host's system to the name.
for result in {output}.om {output}_*.om; do
    if [ -s "$result" ]; then
        echo "$result is ready"
        exit 0
    fi
done
fail "ATC reported success but wrote no {output}.om"
"""

CHECK = """\
rm -f {report}
{command} || true # what counts is the report
[ -s {report} ] || fail "ATC wrote no {report}"
cat {report}
"""

DUMP = """\
atc --mode=1 --framework={framework} --om={model} --json={model}.json
for result in {output}.om {output}_*.om; do
    if [ -s "$result" ]; then
        atc --mode=1 --om="$result" --json={output}.om.json
{shown}        exit 0
    fi
done
fail "there is no {output}.om: run build.sh first"
"""
