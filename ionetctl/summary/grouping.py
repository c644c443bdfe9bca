"""Problems and findings of many hosts, grouped by code and by the shape of the message.

The shape of a message leaves out what differs from host to host: numbers, addresses, quoted names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ionetctl.core.model.names import HostName
    from ionetctl.core.model.outcome import Finding, Outcome, Problem, Result, Severity

BLANK: Final = "…"
_PARTICULAR: Final = re.compile(
    r"""'[^']*'|"[^"]*"|`[^`]*`|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}\b|\d+(?:[.:,]\d+)*"""
)
_PLURAL: Final = re.compile(r"s\b")
_ITEM: Final = rf"[^\s,()]*{BLANK}[^\s,()]*"
_LIST_OF_BLANKS: Final = re.compile(rf"{_ITEM}(?:(?:, | and ){_ITEM})+(?: more)?")


@dataclass(frozen=True, slots=True)
class Cause:
    """A problem that ``hosts`` share; ``message`` has ``…`` where their messages differ, ``hint`` is the first host's."""

    result: Result
    code: str
    step: str
    message: str
    hint: str
    exit_code: int
    hosts: tuple[HostName, ...]


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """A finding that ``hosts`` share; ``message`` has ``…`` where their messages differ, ``hint`` is the first host's.

    ``reasons`` are those of the inventory where it changed the severity.
    """

    severity: Severity
    code: str
    message: str
    hint: str
    hosts: tuple[HostName, ...]
    reasons: tuple[str, ...] = ()


def shape(message: str, *particulars: str) -> str:
    """The message with ``particulars`` (the host's own names), numbers, digests and quoted text replaced by ``…``.

    A list of which every item differs, such as names of hosts, is one ``…``, however long.
    """
    for particular in filter(None, particulars):
        message = message.replace(particular, BLANK)
    return _LIST_OF_BLANKS.sub(BLANK, _PARTICULAR.sub(BLANK, message))


def group_problems(outcomes: Iterable[Outcome]) -> tuple[Cause, ...]:
    """The causes of all outcomes with a problem, in the order of ``Causes.causes``."""
    causes = Causes()
    for outcome in outcomes:
        causes.put(outcome)
    return causes.causes()


def group_findings(findings: Mapping[HostName, Iterable[Finding]]) -> tuple[FindingGroup, ...]:
    """The findings by severity, code and shape: most hosts first, then in order of appearance."""
    alike: dict[tuple[str, str, str], list[tuple[HostName, Finding]]] = {}
    for host, found in findings.items():
        for finding in found:
            key = (finding.severity, finding.code, _in_singular(shape(finding.message, host)))
            alike.setdefault(key, []).append((host, finding))
    groups = [_finding_group(members) for members in alike.values()]
    return tuple(sorted(groups, key=lambda group: -len(group.hosts)))


def _in_singular(form: str) -> str:
    """What ``1 GPU`` and ``2 GPUs`` have in common; not to be shown."""
    return _PLURAL.sub("", form)


def _finding_group(members: list[tuple[HostName, Finding]]) -> FindingGroup:
    first = members[0][1]
    is_same = len({finding.message for _, finding in members}) == 1
    hosts = tuple(dict.fromkeys(host for host, _ in members))
    reasons = tuple(dict.fromkeys(finding.reason for _, finding in members if finding.reason))
    message = (
        first.message if is_same else max((shape(each.message, host) for host, each in members), key=len)
    )
    return FindingGroup(first.severity, first.code, message, first.hint, hosts, reasons)


_Key = tuple["Result", str, str, str]


@dataclass(slots=True)
class _Group:
    result: Result
    first: Problem
    form: str
    messages: dict[HostName, str] = field(default_factory=dict)

    def frozen(self) -> Cause:
        messages = set(self.messages.values())
        return Cause(
            result=self.result,
            code=self.first.code,
            step=self.first.step,
            message=messages.pop() if len(messages) == 1 else self.form,
            hint=self.first.hint,
            exit_code=self.first.exit_code,
            hosts=tuple(self.messages),
        )


def _rank(cause: Cause) -> tuple[bool, int]:
    return cause.exit_code != ExitCode.TRUST, -len(cause.hosts)


class Causes:
    """Groups outcomes as they come; a host's later outcome replaces its earlier one."""

    def __init__(self) -> None:
        self._groups: dict[_Key, _Group] = {}
        self._key_of: dict[HostName, _Key] = {}
        self._frozen: dict[_Key, Cause] = {}

    def put(self, outcome: Outcome) -> None:
        """Take one host's outcome into account."""
        self._forget(outcome.host)
        problem = outcome.problem
        if problem is None:
            return
        form = shape(problem.message, outcome.host, outcome.address)
        key = (outcome.result, problem.code, problem.step, _in_singular(form))
        group = self._groups.setdefault(key, _Group(outcome.result, problem, form))
        group.form = max(group.form, form, key=len)
        group.messages[outcome.host] = problem.message
        self._key_of[outcome.host] = key
        self._frozen.pop(key, None)

    def causes(self) -> tuple[Cause, ...]:
        """The causes: trust first, then most hosts, then in the order of appearance. Unchanged groups are not built again."""
        for key, group in self._groups.items():
            if key not in self._frozen:
                self._frozen[key] = group.frozen()
        return tuple(sorted((self._frozen[key] for key in self._groups), key=_rank))

    def _forget(self, host: HostName) -> None:
        key = self._key_of.pop(host, None)
        if key is None:
            return
        self._frozen.pop(key, None)
        del self._groups[key].messages[host]
        if not self._groups[key].messages:
            del self._groups[key]
