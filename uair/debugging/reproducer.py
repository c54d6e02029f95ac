"""The module in front of a pass that fails, written with the command that lets it fail again."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from uair.atomic import atomic_file, reported
from uair.codegen.reference import NumericsChanged
from uair.debugging.saving import MODULE, SCRIPT, command_line, is_spoken, write_script
from uair.errors import UairError
from uair.ir.data import SplatData
from uair.ir.module import Module
from uair.pipeline import Instrument, Pass, PassManager, Verify
from uair.text import save
from uair.text.printer import module_constants
from uair.text.spelling import is_large

ERROR = "error.txt"


@attrs.define(eq=False)
class Reproducer(Instrument):
    """Writes `module.uair`, `error.txt` and `replay.sh` into a folder when a pass, or a check after it, raises.

    Large constants are written only when the pass does not fail in the same way without their values: most failures
    are about the graph, and weights are big and not everybody's business.

    Attributes:
        directory: the folder; made when it is needed, files of the same names in it are replaced.
        command: what is running, for passes that no command line can say alone.
        plugins: the files that bring passes and rules.
        tolerance: of the numeric check, when there is one.
    """

    directory: Path
    command: str = ""
    plugins: Sequence[Path] = ()
    tolerance: float | None = None
    _before: Module | None = None

    def before(self, pass_: Pass, module: Module) -> None:
        """Keep a copy, which shares the weights."""
        self._before = module.clone()

    def failed(self, pass_: Pass, error: Exception) -> None:
        """Write the copy, and say so in the error's hint.

        Raises:
            OutputError: the folder cannot be written to.
        """
        if self._before is None:
            return
        with reported(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        save(_without_values(self._before, pass_, error), self.directory / MODULE)
        with atomic_file(self.directory / ERROR) as file:
            file.write("".join(traceback.format_exception(error)).encode())
        self._write_script(pass_, error)
        if isinstance(error, UairError):
            told = f"{self.directory / SCRIPT} replays it on the module in front of the pass, which is beside it"
            own = "" if "--reproducer" in error.hint else error.hint
            error.hint = f"{own}; {told}" if own else told

    def _write_script(self, pass_: Pass, error: Exception) -> None:
        if not is_spoken(pass_):  # a pass with settings that only the API gives
            where = shlex.quote(str(Path.cwd()))
            write_script(self.directory, self.command or f"echo {shlex.quote(pass_.spec)}", where)
            return
        command = "bisect" if isinstance(error, NumericsChanged) else "opt"
        words = ["uair", command, MODULE, "-p", pass_.spec]
        if self.tolerance is not None:
            words += ["--check-numerics", f"{self.tolerance:g}"]
        write_script(self.directory, command_line(words, self.plugins))


def _without_values(module: Module, pass_: Pass, error: Exception) -> Module:
    """The module with 1 (integers: 0) in large constants when the pass fails in the same way on it; else itself."""
    bare = module.clone()
    for tensor in module_constants(bare):
        data = tensor.data
        if data is not None and is_large(data) and data.dtype.bits:
            value = np.asarray(1 if data.dtype.is_float else 0).astype(data.dtype.numpy)
            tensor.data = SplatData(value, data.dtype, data.shape)
    try:
        PassManager([pass_], [Verify()]).run(bare.clone())
    except Exception as other:  # noqa: BLE001  whatever it is, it is compared with what is known
        alike = type(other) is type(error) and type(other.__cause__) is type(error.__cause__)
        return bare if alike else module
    return module
