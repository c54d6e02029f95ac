"""Bringing a module to the form that a target takes."""

from __future__ import annotations

import attrs

from uair.context import Context
from uair.errors import UnknownNameError
from uair.ir.module import Module
from uair.pipeline import Pass, PassContext


@attrs.frozen
class Legalise(Pass):
    """Run the passes of a target: operators that it lacks are decomposed, vendor forms put in, layouts assigned.

    Attributes:
        target: name of the target.
    """

    target: str = ""

    def run(self, module: Module, context: PassContext) -> bool:
        """Prepare, then legalise, as `uair compile` does.

        Raises:
            UnknownNameError: there is no such target.
            UairError: a node has no form on the target.
        """
        if not self.target:
            raise UnknownNameError("legalise needs a target", hint='write "legalise{target=ascend310}"')
        target = Context.default().target(self.target)
        results = [step.run(module, context) for step in (*target.prepare(), *target.legalise())]
        return any(results)
