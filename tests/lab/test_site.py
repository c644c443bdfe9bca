"""The plan of a rehearsal: faults by request and seed, and an inventory that the product can load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ionetctl import lab
from ionetctl.core.errors import UsageError
from ionetctl.lab.faults import conditions
from ionetctl.lab.faults.assignment import FAULTS, FaultRequest, assign, parse_fault
from ionetctl.lab.faults.changes import by_standin_program
from ionetctl.lab.host.nvidia_driver import GPU_MODELS, GpuModel
from ionetctl.lab.site import LabSpec, SiteHost, inventory_text, plan_site

SPEC = LabSpec(40, Path("/nowhere"))
PORTS = {"ssh": 2222, "api": 4646, "rpc": 4647}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unreachable=2", FaultRequest("unreachable", 2, is_percentage=False)),
        ("wrong-key=5%", FaultRequest("wrong-key", 5, is_percentage=True)),
    ],
)
def test_a_request_is_a_count_or_a_percentage(text: str, expected: FaultRequest) -> None:
    """In the syntax of ``--fault``."""
    assert parse_fault(text) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("unreachable", "lab_fault_invalid"),
        ("unreachable=", "lab_fault_invalid"),
        ("unreachable=101%", "lab_fault_invalid"),
        ("unreachable=-1", "lab_fault_invalid"),
        ("unreachabel=1", "lab_fault_unknown"),
    ],
)
def test_a_bad_request_is_a_usage_error(text: str, code: str) -> None:
    """With its error code."""
    with pytest.raises(UsageError) as caught:
        parse_fault(text)
    assert caught.value.code == code


def test_an_unknown_fault_is_answered_by_a_suggestion() -> None:
    """The most similar name alone, or where all of them are listed."""
    hints = []
    for text in ("unreachabel=1", "zzzz=1"):
        with pytest.raises(UsageError) as caught:
            parse_fault(text)
        hints.append(caught.value.hint)
    count = len((*FAULTS, *conditions.CONDITIONS))
    assert hints == ["did you mean unreachable?", f"docs/reference/lab.md lists all {count}"]


@pytest.mark.parametrize(
    ("share", "hosts", "count"), [(2, 200, 4), (2, 10, 1), (0, 10, 0), (100, 7, 7), (34, 3, 2)]
)
def test_a_percentage_is_rounded_up(share: int, hosts: int, count: int) -> None:
    """A percentage above zero is one host at least."""
    assert FaultRequest("auth", share, is_percentage=True).count(hosts) == count


def test_the_choice_depends_on_the_seed_alone() -> None:
    """The same seed chooses the same hosts; another seed chooses others."""
    hosts = [f"h{number}" for number in range(100)]
    requests = [parse_fault("auth=5"), parse_fault("clock=5%")]
    first, again, other = (assign(requests, hosts, seed) for seed in (1, 1, 2))
    assert (first == again, first == other, sorted(first.values())) == (
        True,
        False,
        ["auth"] * 5 + ["clock"] * 5,
    )


def test_more_faults_than_hosts_are_refused() -> None:
    """A host has one fault at most."""
    with pytest.raises(UsageError, match="3 faults on 2 hosts"):
        assign([parse_fault("auth=3")], ["a", "b"], 1)


def test_racks_have_sixteen_hosts_and_one_model() -> None:
    """The inventory has a group for each rack."""
    hosts = plan_site(SPEC)
    racks = {rack: [host for host in hosts if host.rack == rack] for rack in {host.rack for host in hosts}}
    assert {
        rack: (len(members), len({host.model for host in members})) for rack, members in racks.items()
    } == {
        "r001": (16, 1),
        "r002": (16, 1),
        "r003": (8, 1),
    }


def test_the_inventory_has_all_gpus_of_a_host_that_lacks_one() -> None:
    """The inventory does not show the fault."""
    spec = LabSpec(1, Path("/nowhere"), (parse_fault("gpu-missing=1"),))
    (host,) = plan_site(spec)
    text = inventory_text(spec, [host], {host.name: "ssh-ed25519 AAAA"}, PORTS)
    assert (len(host.machine.gpus), "gpus: {model: rtx-4090, count: 8}" in text) == (7, True)


def test_addresses_are_all_different_and_loopback() -> None:
    """Also with more than a thousand hosts."""
    addresses = [host.address for host in plan_site(LabSpec(2000, Path("/nowhere")))]
    assert (len(set(addresses)), {address[:7] for address in addresses}) == (2000, {"127.77."})


@pytest.mark.parametrize(
    "name", [name for name, each in conditions.CONDITIONS.items() if each.change is not by_standin_program]
)
@pytest.mark.parametrize("model", GPU_MODELS, ids=lambda model: model.short)
def test_every_condition_changes_a_sound_machine(name: str, model: GpuModel) -> None:
    """For each GPU model, but for conditions that are made by a program."""
    sound = SiteHost("h", "127.77.0.1", "r001", model, ())
    assert replace(sound, faults=(name,)).machine != sound.machine


def test_faults_and_conditions_do_not_share_names() -> None:
    """Both are requested by the same option."""
    assert set(FAULTS) & set(conditions.CONDITIONS) == set()


def test_conditions_by_programs_have_programs() -> None:
    """Each has a directory of stand-ins."""
    folders = {path.name for path in (Path(lab.__file__).parent / "standins/faults").iterdir()}
    named = {name for name, each in conditions.CONDITIONS.items() if each.change is by_standin_program}
    assert (named, named <= folders) == ({"clock-apart", "not-root"}, True)
