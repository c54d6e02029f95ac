"""The import-linter contract that the library's own contracts lack: a list of what a package *may* import from outside.

A list of forbidden packages says nothing about the next dependency; this one fails until the new one is allowed.
"""

from __future__ import annotations

import sys
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class ExternalsContract(Contract):
    """Every direct import of a package from outside is on the package's list, or of the standard library.

    Options:
        package: the package whose modules are checked, with all that is in it. One that does not exist has no imports.
        except_in: packages inside it that have a contract of their own.
        allowed: names of distributions' top-level packages.
    """

    type_name = "externals"

    package = fields.StringField()
    except_in = fields.SetField(subfield=fields.StringField(), required=False)
    allowed = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Collect the imports that are not on the list.

        Args:
            graph: the imports of the project; modules from outside are single nodes named by their top-level package.
            verbose: unused, the check is instantaneous.
        """
        del verbose
        package, allowed, elsewhere = self._options()
        known = {package.split(".", maxsplit=1)[0], *allowed, *sys.stdlib_module_names}
        refused = sorted(
            (importer, imported, detail["line_number"])
            for importer in graph.modules
            if _inside(importer, package) and not any(_inside(importer, name) for name in elsewhere)
            for imported in graph.find_modules_directly_imported_by(importer)
            if imported.split(".", maxsplit=1)[0] not in known
            for detail in graph.get_import_details(importer=importer, imported=imported)
        )
        return ContractCheck(kept=not refused, metadata={"refused": refused})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Write one line per refused import, and what to do about it."""
        for importer, imported, line in check.metadata["refused"]:
            output.print_error(f"{importer} (line {line}) imports {imported}", bold=False)
        package, allowed, _ = self._options()
        output.print_error(
            f"{package} may import from outside: {', '.join(sorted(allowed))}. Move the import to the layer that "
            "may do it, or, if the design changes, extend the list in pyproject.toml.",
        )

    def _options(self) -> tuple[str, set[str], set[str]]:
        """The three options as the values that the base class put in the place of the declared fields."""
        elsewhere = cast("set[str] | None", self.except_in)
        return cast("str", self.package), cast("set[str]", self.allowed), elsewhere or set()


def _inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
