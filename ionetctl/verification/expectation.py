"""What a region must show of a host's node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ionetctl.verification import gpu_evidence
from ionetctl.verification.registrar import Expectation

if TYPE_CHECKING:
    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host


def expected_node(
    host: Host, facts: Facts | None = None, *, may_be_ineligible: bool, counts_gpus: bool = True
) -> Expectation:
    """Pool, datacenter and GPUs of the host's node: those that a probe saw, else those that were promised."""
    gpus = gpu_evidence.gpus_due(host, facts) if counts_gpus else None
    return Expectation(host.node_pool, host.datacenter, gpus, may_be_ineligible=may_be_ineligible)
