"""The changes that a host needs: its bundle compared with what the survey found. Pure.

Converged means that a new survey gives an empty plan. Files are compared by digest, links by target, a certificate by
the issuer's check, its key by the manifest, which shows that both were installed together; a key that the host has made
stands in no manifest, and is held against the certificate. A registration is needed where the region does not know the node.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ionetctl.core import host_paths
from ionetctl.core.model.plan import Action, Bundle, BundleFile, Change, Kind, Plan
from ionetctl.plan.bundle import DIGEST_CHARACTERS, new_stamp, sha256, with_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.names import Digest

RUNNING: Final = frozenset({"active"})
UNLIMITED_DRIVERS: Final = ("docker", "exec", "java", "qemu")
"""What jobs may use where the configuration has no list: all that Nomad brings with it but raw_exec, which it switches off by itself."""


@dataclass(frozen=True, slots=True)
class PlanContext:
    """What a plan depends on besides bundle and survey.

    ``nonce`` goes into a new stamp. ``certificate_unfit`` is why the certificate that was found must be replaced.
    ``is_known``: whether the region knows the node's id. ``unconfirmed``: why the region does not confirm the node
    although nothing differs on the host. ``drivers_lost`` are the task drivers that jobs may use there now and not afterwards.
    """

    nonce: str
    certificate_unfit: str | None
    is_known: bool
    unconfirmed: str | None = None
    drivers_lost: tuple[str, ...] = ()


def drivers_lost(drivers: Iterable[str], facts: Facts) -> tuple[str, ...]:
    """The task drivers that jobs may use on the host now and not where ``drivers`` are all that they may.

    Of a Nomad that is not ours nobody knows what it allows: it counts as one without a limit.
    """
    is_configured = host_paths.CLIENT_CONFIG in facts.files if facts.nomad.is_ours else facts.nomad.is_running
    if not is_configured:
        return ()
    allowed = facts.machine.nomad_drivers or UNLIMITED_DRIVERS
    return tuple(sorted(set(allowed).difference(drivers)))


def make_plan(bundle: Bundle, facts: Facts, context: PlanContext) -> Plan:
    """The plan that brings a host to its bundle; its changes stand in the order in which they are shown."""
    stamp = facts.nomad.stamp or ""
    if stamp[:DIGEST_CHARACTERS] != bundle.digest[:DIGEST_CHARACTERS]:
        stamp = ""
    changes = [change for file in bundle.files for change in _compare(file, bundle, facts, context, stamp)]
    changes += (
        _foreign_config(bundle, facts) + _closed_door(bundle, facts) + _overwritten_files(changes, facts)
    )
    changes += _service(bundle, facts, context, changes)
    if not stamp or any(change.action in {Action.RESTART, Action.START} for change in changes):
        stamp = new_stamp(bundle, context.nonce)
        changes = _with_stamped_config(changes)
    if context.drivers_lost:
        changes = [_naming_drivers(change, context.drivers_lost, facts) for change in changes]
    return Plan(bundle.host, stamp, tuple(changes))


def _naming_drivers(change: Change, lost: tuple[str, ...], facts: Facts) -> Change:
    """The change of the client configuration with what it does to jobs: Nomad fails them and leaves their processes."""
    if change.path != host_paths.CLIENT_CONFIG or change.action not in {Action.CREATE, Action.UPDATE}:
        return change
    said = f"{change.reason}; jobs may no longer use {', '.join(lost)}"
    if facts.nomad.allocations:
        said += ": those that do fail at the restart, and their processes stay behind"
    return replace(change, reason=said)


def _with_stamped_config(changes: list[Change]) -> list[Change]:
    """The changes, with one of the client configuration: a new stamp changes that file."""
    if any(change.path == host_paths.CLIENT_CONFIG for change in changes):
        return changes
    return [
        Change(
            Action.UPDATE, host_paths.CLIENT_CONFIG, "a new stamp, to prove that the agent came up with it"
        ),
        *changes,
    ]


def _compare(
    file: BundleFile, bundle: Bundle, facts: Facts, context: PlanContext, stamp: str
) -> Iterator[Change]:
    match file.kind:
        case Kind.LINK:
            yield from _compare_link(file, facts)
        case Kind.CERTIFICATE:
            mismatch = _own_pair_mismatch(facts) if bundle.key_on_host else _pair_mismatch(facts)
            yield from _compare_certificate(file, facts, context.certificate_unfit or mismatch)
        case Kind.KEY | Kind.OWN_KEY:
            yield from _compare_permissions(file, facts)
        case _:
            yield from _compare_content(file, facts, stamp)


def _compare_link(file: BundleFile, facts: Facts) -> Iterator[Change]:
    target = facts.links.get(file.path)
    if target == file.target:
        return
    if target is None:
        yield Change(Action.CREATE, file.path, f"points at {file.target}")
    else:
        yield Change(Action.UPDATE, file.path, f"points at {target}, not at {file.target}")


def _compare_content(file: BundleFile, facts: Facts, stamp: str) -> Iterator[Change]:
    found = facts.files.get(file.path)
    if found is None:
        yield Change(Action.CREATE, file.path, "is missing", file.is_secret)
    elif found.digest != expected_digest(file, stamp):
        yield Change(Action.UPDATE, file.path, "differs", file.is_secret)
    else:
        yield from _compare_permissions(file, facts)


def expected_digest(file: BundleFile, stamp: str) -> str:
    """The digest that a file has on a host whose stamp is ``stamp``."""
    return sha256(with_stamp(file.content, stamp)) if file.kind is Kind.FILE else file.digest


def new_digests(bundle: Bundle, plan: Plan) -> dict[str, Digest]:
    """The digests that files and programs will have which the plan creates or updates, by path.

    Without secrets, and without the client configuration: its stamp is made anew when the plan is carried out.
    """
    changed = {change.path for change in plan.changes if change.action in {Action.CREATE, Action.UPDATE}}
    return {
        file.path: file.digest
        for file in bundle.files
        if file.path in changed and file.kind in {Kind.FILE, Kind.PROGRAM} and not _is_unknown(file)
    }


def _is_unknown(file: BundleFile) -> bool:
    return file.is_secret or file.path == host_paths.CLIENT_CONFIG


def _compare_permissions(file: BundleFile, facts: Facts) -> Iterator[Change]:
    found = facts.files.get(file.path)
    if found is not None and (found.mode, found.owner) != (file.mode, file.owner):
        reason = f"is {found.mode:04o} {found.owner}, not {file.mode:04o} {file.owner}"
        yield Change(Action.CHMOD, file.path, reason, file.is_secret)


def _compare_certificate(file: BundleFile, facts: Facts, reason: str | None) -> Iterator[Change]:
    if reason:
        action = Action.RENEW if file.path in facts.files else Action.CREATE
        yield Change(action, file.path, reason)
    else:
        yield from _compare_permissions(file, facts)


def _pair_mismatch(facts: Facts) -> str | None:
    """Why certificate and key may not be a pair, or ``None`` where both are the files that were installed together."""
    for path, what in ((host_paths.NODE_CERT, "the certificate"), (host_paths.NODE_KEY, "the private key")):
        found = facts.files.get(path)
        if found is None:
            return f"{what} is missing"
        if facts.manifest.get(path) != found.digest:
            return f"{what} is not the one that was installed"
    return None


def _own_pair_mismatch(facts: Facts) -> str | None:
    """Why the private key is not one that the host has made, or ``None``; the manifest has those that were sent to it."""
    if host_paths.NODE_KEY in facts.manifest:
        return "the private key was not made on the host"
    return None if host_paths.NODE_KEY in facts.files else "the private key is missing"


def _foreign_config(bundle: Bundle, facts: Facts) -> list[Change]:
    """Moves of configuration files that are not ours: a Nomad agent merges all files of its directory."""
    ours = {file.path for file in bundle.files}
    reason = "is not ionetctl's, and the agent would read it"
    return [
        Change(Action.MOVE_ASIDE, path, reason)
        for path in sorted(facts.nomad.config_files)
        if path not in ours
    ]


def _closed_door(bundle: Bundle, facts: Facts) -> list[Change]:
    """Moves of the files of a maintenance door that the host is to have no more; with its path unit its drop and answers go."""
    ours = {file.path for file in bundle.files}
    return [
        Change(Action.MOVE_ASIDE, path, "is of a maintenance door, which the host is not to have")
        for path in host_paths.MAINTENANCE_FILES
        if path in facts.files and path not in ours
    ]


def _overwritten_files(changes: list[Change], facts: Facts) -> list[Change]:
    """Moves of files of others at paths of ours, on a host that was never enrolled: they are kept, not just replaced."""
    if facts.nomad.is_ours or facts.nomad.is_interrupted:
        return []
    replaced = [
        change.path for change in changes if change.action is Action.UPDATE and change.path in facts.files
    ]
    return [Change(Action.MOVE_ASIDE, path, "is not ionetctl's") for path in replaced]


def _service(bundle: Bundle, facts: Facts, context: PlanContext, changes: list[Change]) -> list[Change]:
    service = []
    if not context.is_known:
        service.append(Change(Action.REGISTER, host_paths.UNIT_NAME, "the region does not know this node"))
    if reason := _restart_reason(bundle, facts, context, [*changes, *service]):
        is_running = facts.nomad.active in RUNNING
        service.append(Change(Action.RESTART if is_running else Action.START, host_paths.UNIT_NAME, reason))
    return service


def _restart_reason(bundle: Bundle, facts: Facts, context: PlanContext, changes: list[Change]) -> str | None:
    restarting = {file.path for file in bundle.files if file.restarts}
    if facts.nomad.is_interrupted:
        return "an earlier enrolment was cut off"
    if facts.nomad.active not in RUNNING:
        return f"the service is {facts.nomad.active}"
    if any(_needs_restart(change, restarting) for change in changes):
        return "what it reads at its start changes"
    if not facts.nomad.is_enabled:
        return "the service does not start at boot"
    return context.unconfirmed


def _needs_restart(change: Change, restarting: set[str]) -> bool:
    if change.action is Action.CHMOD:
        return False
    return change.path in restarting or change.action in {Action.MOVE_ASIDE, Action.REGISTER}
