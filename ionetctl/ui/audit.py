"""A rollout's audit as text: who ran what, which keys and programs, and every host that was changed. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from rich.text import Text

from ionetctl.summary.audit import Extent
from ionetctl.ui import phrases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.summary.audit import Audit, ChangedHost, Run

_RUNNING: Final = "no end recorded"
_TITLES: Final = {
    Extent.CHANGED: "hosts changed",
    Extent.UNKNOWN: "hosts that may have been changed: nothing more was heard of them",
    Extent.FAILED: "hosts on which a change failed",
}


def audit_lines(audit: Audit, journal: str) -> Iterator[Text]:
    """The lines of ``rollouts show --audit``; ``journal`` says whether the journal is what was written, and its digest."""
    yield Text(phrases.plain(f"{audit.rollout or '-'}  {audit.inventory}"), style="bold")
    yield Text(phrases.plain(f"journal  {journal}"))
    for run in audit.runs:
        yield from _run_lines(run)
    if audit.host_keys:
        yield Text("host keys accepted", style="bold")
    for key in audit.host_keys:
        yield _line(key.time, key.host or "-", key.known_as, key.fingerprint, key.trust.replace("_", "-"))
    if audit.artifacts:
        yield Text("programs", style="bold")
    for artifact in audit.artifacts:
        yield _line(artifact.path, artifact.digest, phrases.hosts(artifact.hosts))
    if not audit.hosts:
        yield Text("no host was changed", style="bold")
    for extent, title in _TITLES.items():
        hosts = [host for host in audit.hosts if host.extent is extent]
        if hosts:
            yield Text(title, style="bold")
        for host in hosts:
            yield from _host_lines(host)


def _run_lines(run: Run) -> Iterator[Text]:
    end = _RUNNING if run.exit_code is None else f"ended {run.finished_at} with {run.exit_code}"
    yield Text(phrases.plain(f"run  {run.started_at}  {run.user} on {run.machine}  {end}"), style="bold")
    yield _line("command", shlex.join(("ionetctl", *run.command)))
    yield _line("version", run.version or "-")
    yield _line("inventory", run.inventory_digest or "-")


def _host_lines(host: ChangedHost) -> Iterator[Text]:
    outcome = host.outcome.value if host.outcome else _RUNNING
    yield _line(host.name, host.address, host.region, outcome, host.node_id or "-", host.stamp or "-")
    yield _line("", f"from {host.began_at}", f"to {host.finished_at or '-'}")
    if host.error is not None:
        yield _line("", "error", host.error.code, host.error.message)
    for change in host.changes:
        yield _line("", change.action, change.path, change.digest or change.reason)
    for what, details in (
        ("prepared", host.preparations),
        ("rebooted", host.reboots),
        ("token", host.tokens),
        ("ssh", host.access),
    ):
        for detail in details:
            yield _line("", what, detail)


def _line(*parts: str) -> Text:
    """Indented, so that no line begins with what a host or an inventory says."""
    return Text(phrases.plain("  ".join(["", *parts])))
