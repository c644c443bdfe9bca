"""300 nodes changed through their region alone: in waves, with nodes that must not be changed, a region that fails, and a controller that is killed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rehearsal.conftest import NewAdmin, RaiseModelledFleet
    from tests.rehearsal.site import Admin, CommandResult, Rehearsal

HOSTS: Final = 300
HELD: Final = 5
AT_ONCE: Final = ("--canary=0", "--batch-size=100%")


class Site:
    """An enrolled fleet, its admin and its region."""

    def __init__(self, rehearsal: Rehearsal, admin: Admin) -> None:
        self.rehearsal = rehearsal
        self.admin = admin

    def change(self, *arguments: str) -> CommandResult:
        return self.admin.run("nodes", *arguments, "--yes", "-o", "json")

    def nodes(self) -> list[dict[str, Any]]:
        with self.rehearsal.api() as api:
            return list(api.get("/v1/nodes").raise_for_status().json())

    def call(self, path: str, body: dict[str, Any]) -> None:
        with self.rehearsal.api() as api:
            api.post(path, json=body).raise_for_status()

    @property
    def eligible(self) -> int:
        return sum(node["SchedulingEligibility"] == "eligible" for node in self.nodes())

    def allocations(self, node_id: str) -> list[str]:
        with self.rehearsal.api() as api:
            found = api.get(f"/v1/node/{node_id}/allocations").raise_for_status().json()
        return sorted(one["JobID"] for one in found if one["ClientStatus"] == "running")


@pytest.fixture(scope="module")
def site(raise_modelled_fleet: RaiseModelledFleet, new_admin: NewAdmin) -> Iterator[Site]:
    admin = new_admin()
    with raise_modelled_fleet(HOSTS) as rehearsal:
        enrolled = admin.enroll(rehearsal.inventory)
        assert enrolled.exit_code == 0, enrolled.stderr
        yield Site(rehearsal, admin)


def counts(result: CommandResult) -> dict[str, int]:
    return {name: count for name, count in result.document["summary"].items() if count}


def test_controller_that_is_killed_leaves_what_the_next_run_completes(site: Site) -> None:
    """Some nodes are excluded and some are not; running again excludes the rest, and a third run changes nothing."""
    command = ("exclude", "--all", "--reason=fan noise")
    running = site.admin.start("nodes", *command, "--yes")
    running.until(type="wave_finished", index=3)
    running.kill()
    excluded = HOSTS - site.eligible
    assert 0 < excluded < HOSTS

    again = site.change(*command)
    assert (again.exit_code, site.eligible) == (0, 0)
    assert counts(again)["done"] <= HOSTS - excluded
    assert counts(site.change(*command)) == {"hosts": HOSTS, "unchanged": HOSTS}
    check = site.admin.run("nodes", *command, "--check", "-o", "json")
    assert check.exit_code == 0


def test_rollout_that_was_killed_is_resumed(site: Site) -> None:
    """By the command that began it; what was done is left alone, and the rollout is recorded as what it is."""
    site.change("exclude", "--all", *AT_ONCE)
    running = site.admin.start("nodes", "include", "--all", "--yes")
    running.until(type="wave_finished", index=2)
    running.kill()
    differing = site.change("include", "--all", "--force", "--resume")
    assert (differing.exit_code, differing.document["error"]["code"]) == (2, "rollout_of_other_details")
    resumed = site.change("include", "--all", "--resume")
    assert (resumed.exit_code, counts(resumed), site.eligible) == (0, {"hosts": HOSTS, "done": HOSTS}, HOSTS)
    [last, *_] = site.admin.run("rollouts", "list", "-o", "json").document["rollouts"]
    assert (last["kind"], last["results"]) == ("include", {"done": HOSTS})
    assert site.admin.run("rollouts", "show", "-o", "json").document["action"] == "include"
    audit = site.admin.run("rollouts", "show", "--audit", "-o", "json").document
    assert {host["extent"] for host in audit["hosts"]} == {"changed"}
    refused = site.admin.run(
        "enroll", str(site.rehearsal.inventory), "--yes", "--resume", f"--rollout={last['rollout']}"
    )
    assert refused.exit_code == 2


def test_region_that_fails_for_a_while_is_waited_for(site: Site) -> None:
    """Nothing is lost by it, and every node is excluded in the end."""
    running = site.admin.start("nodes", "exclude", "--all", "--yes")
    running.until(type="wave_finished", index=2)
    with site.rehearsal.region_misbehaving("internal"):
        running.until(type="region_waited")
    ended = running.end()
    assert (ended.exit_code, site.eligible) == (0, 0), ended.stderr


def test_nodes_that_must_not_be_included_are_named(site: Site) -> None:
    """The others go on; with a smaller budget the rollout stops."""
    site.change("exclude", "--all", *AT_ONCE)
    held = sorted(site.nodes(), key=lambda node: str(node["Name"]))[-HELD:]
    for node in held:
        meta = {"ionet_admission": "flawed: gpu_lost", "ionet_admission_reason": "GPU 2 is lost"}
        site.call(f"/v1/client/metadata?node_id={node['ID']}", {"Meta": meta})
    stopped = site.change("include", "--all", "--max-failures=2")
    assert (stopped.exit_code, site.eligible) == (10, 0)

    included = site.change("include", "--all")
    assert (included.exit_code, counts(included)) == (
        5,
        {"hosts": HOSTS, "done": HOSTS - HELD, "failed": HELD},
    )
    codes = {host["error"]["code"] for host in included.document["hosts"] if host["error"]}
    assert (codes, site.eligible) == ({"node_unproved"}, HOSTS - HELD)
    forced = site.change("include", "--all", "--force")
    assert (counts(forced), site.eligible) == (
        {"hosts": HOSTS, "done": HELD, "unchanged": HOSTS - HELD},
        HOSTS,
    )


def job(name: str, kind: str, count: int = 1) -> dict[str, Any]:
    group = {"Name": "g", "Count": count, "Tasks": [{"Name": "t", "Driver": "docker"}]}
    return {"Job": {"ID": name, "Type": kind, "NodePool": "all", "TaskGroups": [group]}}


def test_rack_is_drained_of_its_jobs_and_gets_its_system_jobs_back(site: Site) -> None:
    """A drain moves services elsewhere and ends system jobs; inclusion brings these back, where the region forgets them too."""
    site.change("include", "--all", "--force", *AT_ONCE)
    site.call("/v1/jobs", job("gateway", "system"))
    site.call("/v1/jobs", job("web", "service", HOSTS))
    rack = [node for node in site.nodes() if "-r001-" in node["Name"]]
    assert {tuple(site.allocations(node["ID"])) for node in rack} == {("gateway", "web")}
    drained = site.change("drain", "--limit=rack:r001", "--deadline=10m", "--batch-size=50%")
    assert (drained.exit_code, counts(drained)) == (0, {"hosts": len(rack), "done": len(rack)})
    assert {tuple(site.allocations(node["ID"])) for node in rack} == {()}
    with site.rehearsal.api() as api:
        web = sum(
            one["JobID"] == "web" and one["ClientStatus"] == "running"
            for node in site.nodes()
            for one in api.get(f"/v1/node/{node['ID']}/allocations").json()
        )
    assert web == HOSTS
    assert counts(site.change("drain", "--limit=rack:r001")) == {"hosts": len(rack), "unchanged": len(rack)}

    control = site.rehearsal.directory / "run/region-control.json"
    control.write_text('{"forgets_system_jobs": true}')
    time.sleep(1.0)
    included = site.change("include", "--limit=rack:r001")
    control.unlink()
    assert included.exit_code == 0
    assert "system_jobs" not in included.stderr
    assert all("gateway" in site.allocations(node["ID"]) for node in rack)


def test_drain_that_is_ended_makes_nodes_what_they_were(site: Site) -> None:
    """What was excluded before stays excluded; what was not has jobs again."""
    # On every node, and nothing that a drain without a deadline ends.
    site.call("/v1/jobs", job("long", "sysbatch", 1))
    rack = "--limit=rack:r002"
    names = sorted(node["Name"] for node in site.nodes() if "-r002-" in node["Name"])
    site.change("exclude", f"--limit={names[0]}")
    begun = site.change("drain", rack, "--deadline=none", "--no-wait", *AT_ONCE)
    assert begun.exit_code == 0
    assert {node["Drain"] for node in site.nodes() if node["Name"] in names} == {True}
    ended = site.change("drain", rack, "--cancel", *AT_ONCE)
    assert ended.exit_code == 0
    standing = {node["Name"]: node["SchedulingEligibility"] for node in site.nodes() if node["Name"] in names}
    assert standing == dict.fromkeys(names, "eligible") | {names[0]: "ineligible"}
    site.change("include", rack)


def test_metadata_is_set_and_removed(site: Site) -> None:
    """The region's servers show it when the command ends; a key of ionetctl's is refused before anything is done."""
    rack = ("--limit=rack:r003", *AT_ONCE)
    done = site.change("meta", "set", "site_row=7", "colour=red", *rack)
    assert done.exit_code == 0, done.stderr
    query = {"filter": 'Meta.site_row == "7" and Meta.colour == "red"'}
    with site.rehearsal.api() as api:
        shown = api.get("/v1/nodes", params=query).json()
        assert len(shown) == done.document["summary"]["done"]
        assert site.change("meta", "unset", "colour", *rack).exit_code == 0
        assert api.get("/v1/nodes", params=query).json() == []
    assert site.change("meta", "set", "ionet_rack=b01", *rack).exit_code == 2
    assert site.admin.run("nodes", "exclude", "--yes").exit_code == 2
    assert site.admin.run("nodes", "exclude", "--all").exit_code == 2


def test_nodes_of_two_rollouts_exclude_each_other(site: Site) -> None:
    """A drain that is at work holds its nodes against an enrolment."""
    site.call("/v1/jobs", job("stubborn", "batch", 3 * HOSTS))
    running = site.admin.start("nodes", "drain", "--limit=rack:r004", "--deadline=none", "--yes", *AT_ONCE)
    running.until(type="node_progressed")
    refused = site.admin.enroll(site.rehearsal.inventory, "--limit=rack:r004")
    running.kill()
    assert refused.exit_code == 7
    # What was begun goes on in the region by itself, until somebody ends it.
    assert site.change("drain", "--limit=rack:r004", "--cancel").exit_code == 0
    wait_until(lambda: not any(node["Drain"] for node in site.nodes()), "no node is drained")
