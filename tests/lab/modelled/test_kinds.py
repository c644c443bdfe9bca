"""Which modelled hosts share a template, and which faults none can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from ionetctl.core.errors import UsageError
from ionetctl.lab.faults import conditions
from ionetctl.lab.faults.assignment import FAULTS, FaultRequest
from ionetctl.lab.modelled.kinds import UNMODELLED, kind_of, refuse_unmodelled, templates_of
from ionetctl.lab.site import LabSpec, plan_site


def test_hosts_of_one_model_and_fault_share_a_template() -> None:
    """Of 40 hosts with three GPU models and one fault: as many templates as kinds, each of its kind."""
    hosts = plan_site(LabSpec(40, Path("lab"), (FaultRequest("clock", 1, is_percentage=False),)))
    templates = templates_of(hosts, 1)
    assert set(templates) == {kind_of(host) for host in hosts}
    assert {kind: kind_of(template) for kind, template in templates.items()} == {
        kind: kind for kind in templates
    }
    assert len({template.name for template in templates.values()}) == len(templates) == 4


@pytest.mark.parametrize("fault", sorted(UNMODELLED))
def test_a_fault_that_cannot_be_modelled_is_refused(fault: str) -> None:
    """It exists, and is named."""
    assert fault in {*FAULTS, *conditions.CONDITIONS}
    hosts = plan_site(LabSpec(2, Path("lab"), (FaultRequest(fault, 1, is_percentage=False),)))
    with pytest.raises(UsageError, match=fault) as raised:
        refuse_unmodelled(hosts)
    assert raised.value.code == "lab_fault_not_modelled"
