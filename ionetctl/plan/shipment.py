"""What is sent to a host: from its plan to the payload of one apply.

Pure but for the certificate that the plan may ask to be issued. The manifest travels with every shipment: it says by
digest what was installed, so that the next survey can tell ours from others'.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from ionetctl.core import host_paths
from ionetctl.core.model.plan import Action, Bundle, BundleFile, Kind, Plan
from ionetctl.plan.bundle import sha256, with_stamp
from ionetctl.plan.payload import Payload

if TYPE_CHECKING:
    from collections.abc import Callable

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.names import RolloutId
    from ionetctl.core.model.node import NodeCertificate

_SENT: Final = frozenset({Action.CREATE, Action.UPDATE, Action.RENEW})
_CONFIGURATION: Final = frozenset({Kind.FILE, Kind.CERTIFICATE, Kind.KEY})


def pack(
    bundle: Bundle,
    plan: Plan,
    facts: Facts,
    issue: Callable[[], NodeCertificate],
    *,
    rollout: RolloutId,
    apply_script: bytes,
    needs_token: bool,
) -> Payload:
    """The payload that carries out ``plan``; ``issue`` is called where the plan renews the certificate.

    Raises what ``issue`` raises.
    """
    settled = _settled(bundle, plan, issue)
    sent = {change.path for change in plan.changes if change.action in _SENT}
    if host_paths.NODE_CERT in sent:
        sent.add(host_paths.NODE_KEY)
    files = [file for file in settled if file.path in sent and file.kind in _CONFIGURATION]
    return Payload(
        rollout=rollout,
        apply_script=apply_script,
        files=(*files, _manifest(settled, facts)),
        programs=tuple(file for file in settled if file.path in sent and file.kind is Kind.PROGRAM),
        links=tuple(file for file in settled if file.path in sent and file.kind is Kind.LINK),
        chmods=tuple(file for file in settled if file.path in _paths(plan, Action.CHMOD) - sent),
        asides=tuple(sorted(_paths(plan, Action.MOVE_ASIDE))),
        keeps=tuple(file.path for file in settled if file.kind in _CONFIGURATION and file.path not in sent),
        needs_token=needs_token,
        start=_start(plan),
        validate_with=host_paths.NOMAD_LINK if not _programs(bundle) else _programs(bundle)[0],
    )


def _settled(bundle: Bundle, plan: Plan, issue: Callable[[], NodeCertificate]) -> tuple[BundleFile, ...]:
    """The bundle's files with stamp and minted material in them."""
    minted: dict[Kind, bytes] = {}
    if host_paths.NODE_CERT in _paths(plan, Action.RENEW):
        certificate = issue()
        minted = {Kind.CERTIFICATE: certificate.chain_pem, Kind.KEY: certificate.key_pem}
    return tuple(_settle(file, plan.stamp, minted) for file in bundle.files)


def _settle(file: BundleFile, stamp: str, minted: dict[Kind, bytes]) -> BundleFile:
    content = (
        minted.get(file.kind, b"")
        if file.kind in {Kind.CERTIFICATE, Kind.KEY}
        else with_stamp(file.content, stamp)
    )
    if not content:
        return file
    return replace(file, content=content, digest=sha256(content))


def _paths(plan: Plan, action: Action) -> set[str]:
    return {change.path for change in plan.changes if change.action is action}


def _programs(bundle: Bundle) -> list[str]:
    named = (file for file in bundle.files if file.program is not None and file.program.name == "nomad")
    return [file.path for file in named]


def _manifest(settled: tuple[BundleFile, ...], facts: Facts) -> BundleFile:
    """One line a file, ``<digest>  <path>`` as sha256sum writes them; what is not sent keeps its recorded digest."""
    digests = (
        (file.digest or facts.manifest.get(file.path), file) for file in settled if file.kind is not Kind.LINK
    )
    content = "".join(f"{digest}  {file.path}\n" for digest, file in digests).encode()
    return BundleFile(
        host_paths.MANIFEST, Kind.FILE, 0o600, restarts=False, content=content, digest=sha256(content)
    )


def _start(plan: Plan) -> Literal["restart", "start", "no"]:
    actions = {change.action for change in plan.changes}
    if Action.RESTART in actions:
        return "restart"
    return "start" if Action.START in actions else "no"
