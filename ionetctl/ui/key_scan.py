"""What people see of ``trust scan`` beside the pins. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ionetctl.core.model.host_key import Standing
from ionetctl.summary.key_scan import groups_alike
from ionetctl.ui import phrases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.summary.key_scan import KeyScan

MOST: Final = 20
"""The most hosts that are listed one by one; the document has them all."""


def scan_lines(scan: KeyScan) -> Iterator[str]:
    """Hosts that share a key, those whose key is refused or was not seen, and the sums."""
    for names in groups_alike(scan):
        yield (
            f"one host key on {phrases.folded(names)}: a cloned image (its keys are known to whoever has it), or one machine "
            "under several names; none of them is pinned → make new keys on each: rm /etc/ssh/ssh_host_*; ssh-keygen -A"
        )
    bad = [one for one in scan.troubled if one.error is not None and one.standing is not Standing.NEW]
    for one in bad[:MOST]:
        if one.error is not None:
            yield f"{one.host}: {one.error.code}: {phrases.plain(one.error.message)} → {phrases.plain(one.error.hint)}"
    if len(bad) > MOST:
        yield f"and {len(bad) - MOST:,} more; -o json has them all"
    if unsigned := [one.host for one in scan.uncertified]:
        yield (
            f"{phrases.folded(unsigned)}: not pinned: known_hosts has the key, the inventory's CA has not signed it → have the CA "
            "certify it (HostCertificate in sshd_config), or take ssh.host_ca away"
        )
    counts = ", ".join(f"{count:,} {standing.value}" for standing, count in scan.counts.items() if count)
    yield f"{phrases.hosts(len(scan.seen))}: {counts}"
