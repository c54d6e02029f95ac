"""What the logs of vendors' tools mean.

A tool's log is thousands of lines of which one tells why it failed, in the vendor's words. A `LogRule` recognises
such a
line and says in UAIR's words what it means and what to do; codegen/<vendor>/log.py holds the rules of a vendor's tools.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import attrs

from uair.targets.verdict import Confidence, Source

MOST = 50
"""Findings of one log that are kept; a tool may repeat a warning for every node."""
LONGEST_LINE = 4000
"""Characters of a line that are looked at: a traceback may hold a whole model in one line."""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@attrs.frozen
class LogRule:
    """One kind of line.

    Attributes:
        pattern: regular expression that is searched in a line; its named groups may be used as `{name}` in the texts,
            and the group `node` names the node it is about.
        meaning: what it means, one sentence.
        advice: the next step; empty when there is none.
        code: the vendor's own code; empty when it has none. A group `code` in the pattern goes before it.
        level: whether the tool gave up, or went on.
        source: where the line was seen or is documented.
    """

    pattern: re.Pattern[str] = attrs.field(converter=_compiled)
    meaning: str
    advice: str = ""
    code: str = ""
    level: Literal["error", "warning"] = "error"
    source: Source | None = None


@attrs.frozen
class Finding:
    """A line of a log that a rule recognised.

    Attributes:
        level: "error" or "warning".
        code: the vendor's own code, or empty.
        meaning: in UAIR's words.
        advice: the next step, or empty.
        node: name of the node in the vendor's file, or empty.
        line: the vendor's words.
        number: of the line, from 1.
        confidence: how sure the meaning is.
    """

    level: str
    code: str
    meaning: str
    advice: str
    node: str
    line: str
    number: int
    confidence: Confidence = Confidence.DOCUMENTED

    def to_json(self) -> dict[str, Any]:
        """Plain data; empty fields are left out."""
        fields: dict[str, Any] = attrs.asdict(self, filter=lambda _, value: value != "")
        return fields | {"confidence": self.confidence.value}

    def describe(self) -> str:
        """One line for people."""
        head = f"{self.code}: " if self.code else ""
        node = f" [{self.node}]" if self.node and self.node not in self.meaning else ""
        return f"{head}{self.meaning}{node}"


def read_log(lines: Iterable[str], rules: Sequence[LogRule]) -> list[Finding]:
    """The lines of a log that a rule recognises, in order, each kind of message about a node once.

    Args:
        lines: the log; colours and progress bars are removed.
        rules: the first that fits a line decides.
    """
    found: dict[tuple[str, str], Finding] = {}
    for number, raw in enumerate(lines, 1):
        line = plain_line(raw)
        match = _first(line, rules)
        if match is None:
            continue
        finding = _finding(*match, line, number)
        found.setdefault((finding.meaning, finding.node), finding)
        if len(found) == MOST:
            break
    return list(found.values())


def plain_line(raw: str) -> str:
    """A line as a terminal would show it."""
    return _ESCAPES.sub("", raw.rstrip("\r\n").rpartition("\r")[2])[:LONGEST_LINE].strip()


def _first(line: str, rules: Sequence[LogRule]) -> tuple[LogRule, re.Match[str]] | None:
    found = ((rule, rule.pattern.search(line)) for rule in rules)
    return next(((rule, match) for rule, match in found if match is not None), None)


def _finding(rule: LogRule, match: re.Match[str], line: str, number: int) -> Finding:
    groups: Mapping[str, str] = {key: (value or "").strip() for key, value in match.groupdict().items()}
    confidence = Confidence.UNCERTAIN if rule.source is None else rule.source.confidence
    return Finding(
        rule.level,
        groups.get("code") or rule.code,
        rule.meaning.format_map(groups),
        rule.advice.format_map(groups),
        groups.get("node", ""),
        line,
        number,
        confidence,
    )


def errors(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Those that made the tool give up."""
    return (finding for finding in findings if finding.level == "error")
