"""What ``trust scan`` writes: pins for an inventory, and the document ``ionetctl.trust-scan/1``. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ionetctl.core.model.host_key import Standing
from ionetctl.core.sanitize import harmless
from ionetctl.report.json import failure as error_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.errors import ExitCode
    from ionetctl.core.model.host_key import SeenKey
    from ionetctl.summary.key_scan import KeyScan
    from ionetctl.summary.rollout_summary import Failure

SCHEMA: Final = "ionetctl.trust-scan/1"
WORTH: Final = (
    "These keys are those of whatever answered. Whoever sat between this machine and a host at that moment,",
    "or at its address, is pinned by them for good. Before you use them, compare their fingerprints with what each",
    "host's console, its image or its owner says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
)
"""What pins from a scan are worth; lines of their own."""


def pins_text(scan: KeyScan) -> str:
    """The key ``pins`` of an inventory with every key that may be pinned; hosts without one stand in comments."""
    return "".join(f"{line}\n" for line in _pins_lines(scan))


def _pins_lines(scan: KeyScan) -> Iterator[str]:
    yield f"# Host keys for {harmless(scan.inventory)}, scanned {scan.scanned_at} by {harmless(scan.owner)}. Not reviewed."
    yield from (f"# {line}" for line in WORTH)
    yield "# Then paste what follows into the inventory, at its top level."
    for one in scan.troubled:
        others = scan.alike.get(one.host)
        why = f"the same key as {', '.join(others[:6])}" if others else one.error and one.error.code
        shown = f" ({one.key.fingerprint})" if one.key else ""
        yield f"# not pinned: {one.host}: {why}{shown}"
    for one in scan.uncertified:
        if one.key is not None and one.host not in scan.alike:
            yield f"# not pinned: {one.host}: known_hosts has its key, the inventory's CA has not signed it ({one.key.fingerprint})"
    yield "pins:" if scan.pins else "pins: {}"
    for one in scan.pins:
        if one.key is not None:
            said = "known_hosts has it" if one.standing is Standing.KNOWN else "new"
            yield f'  "{one.host}": {one.key.line}  # {one.key.fingerprint}, {said}'


def document(
    scan: KeyScan | None,
    out: str | None = None,
    exit_code: ExitCode | None = None,
    failure: Failure | None = None,
) -> dict[str, Any]:
    """The document as plain data; ``failure`` is why there was no scan."""
    code = scan.exit_code if scan is not None and exit_code is None else exit_code
    counts = {} if scan is None else {standing.value: count for standing, count in scan.counts.items()}
    return {
        "schema": SCHEMA,
        "exit_code": int(code or 0),
        "summary": {
            "hosts": len(scan.seen) if scan else 0,
            **counts,
            "alike": len(scan.alike) if scan else 0,
        },
        "hosts": [host_row(scan, one) for one in scan.seen] if scan else [],
        "out": out,
        "error": error_object(failure),
    }


def host_row(scan: KeyScan, one: SeenKey) -> dict[str, Any]:
    """One host; ``alike`` are the hosts whose key it has."""
    error = one.error
    return {
        "name": one.host,
        "address": one.address,
        "standing": one.standing.value,
        "key": one.key and one.key.line,
        "fingerprint": one.key and one.key.fingerprint,
        "alike": list(scan.alike.get(one.host, ())),
        "error": error
        and {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "exit_code": int(error.exit_code),
        },
    }
