"""The maintenance door on a real systemd host with a real Nomad: what a signed word changes, and what no other word changes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from ionetctl.core import host_paths
from ionetctl.core.model.names import NodeId, RolloutId
from ionetctl.core.model.plan import BundleFile, Kind
from ionetctl.lab.certificates import write_private
from ionetctl.plan.bundle import sha256
from ionetctl.plan.payload import Payload
from ionetctl.plan.word import Word, signed_word, word_text
from ionetctl.remote import apply_script
from tests.e2e.base_root import why_unavailable
from tests.e2e.machines import Fleet
from tests.e2e.real_region import Address, RealRegion
from tests.e2e.site import NOMAD_VERSION, Site, write_release
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.machines import Machine

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable())),
]

EXEC: Final = ("--system-call-filter=@keyring", "--system-call-filter=bpf")
"""What Nomad's exec driver needs of systemd-nspawn."""
DOOR_POLICY: Final = (
    'namespace "ionet-maintenance" { variables { path "ionet/maintenance/*" { capabilities = ["read"] } } }'
)
TOOL_POLICY: Final = """
namespace "*" { capabilities = ["list-jobs"] }
namespace "ionet-maintenance" {
  capabilities = ["submit-job", "read-job", "read-logs"]
  variables { path "ionet/maintenance/*" { capabilities = ["read", "write", "list", "destroy"] } }
}
host_volume "ionet-drop" { policy = "write" }
host_volume "ionet-answers" { policy = "read" }
"""
"""What the controller's token needs beside the rights that an enrolment needs; docs/explanation/maintenance.md has the same."""
TIMEOUT_S: Final = 120.0


class Door:
    """A host that was enrolled with a door, the region's job running on it, and the key of its signer."""

    def __init__(self, site: Site, region: RealRegion, key: Path) -> None:
        self.site = site
        self.region = region
        self.machine: Machine = site.fleet.machines[0]
        self.key = key
        self.serial = time.time_ns() // 1000
        self.node = NodeId(region.nodes()[0]["ID"])

    @property
    def detail(self) -> Any:
        return self.region.call("GET", f"/v1/node/{self.node}")

    def payload(self, power: str, old: str = "", new_text: str = "") -> Payload:
        """The client configuration that lies there, with one value of its meta changed and a new stamp; ``old`` in it becomes ``new_text``."""
        text = self.machine.read(host_paths.CLIENT_CONFIG)
        stamp = self.detail["Meta"]["unique.ionet_bundle"]
        new = text.replace(f'"power" = "{self.detail["Meta"]["power"]}"', f'"power" = "{power}"')
        new = new.replace(stamp, f"{stamp[:16]}-{power}")
        new = new.replace(old, new_text) if old else new
        assert new != text
        content = new.encode()
        file = BundleFile(
            host_paths.CLIENT_CONFIG, Kind.FILE, 0o640, restarts=True, content=content, digest=sha256(content)
        )
        keeps = ("docker.hcl", "drivers.hcl", "tls/ca.pem", "tls/client.pem", "tls/client-key.pem")
        return Payload(
            RolloutId("-"),
            apply_script(),
            (file,),
            keeps=tuple(f"{host_paths.CONFIG_DIR}/{name}" for name in keeps),
            start="restart",
            validate_with=host_paths.NOMAD_LINK,
        )

    def text(self, power: str, payload: Payload | None = None, **fields: Any) -> tuple[Word, bytes]:
        """A word for this host, of the next serial, and what is to be signed of it."""
        self.serial += 1
        given: dict[str, Any] = {
            "node": self.node,
            "serial": self.serial,
            "expires_at": int(time.time()) + 600,
            "stamp": self.detail["Meta"]["unique.ionet_bundle"],
            "signers": sha256(self.machine.read(host_paths.ALLOWED_SIGNERS).encode()),
            **fields,
        }
        word = Word(**given)
        return word, word_text(word, payload or self.payload(power))

    def word(self, power: str, *, key: Path | None = None, **fields: Any) -> bytes:
        """The same, signed."""
        text = self.text(power, **fields)[1]
        argv = ("ssh-keygen", "-q", "-Y", "sign", "-f", str(key or self.key), "-n", "ionet-maintenance")
        signature = subprocess.run(argv, input=text, capture_output=True, check=True).stdout
        return signed_word(text, signature)

    def change(self, power: str, **fields: Any) -> dict[str, Any]:
        """As the controller changes a host: signed, sent, answered; its answer."""
        word, text = self.text(power, **fields)
        answer: dict[str, Any] = control(
            self.site, "send", str(self.key), WORD=json.dumps(asdict(word)), stdin=text
        )
        return answer

    @property
    def _variable(self) -> str:
        return f"/v1/var/ionet%2Fmaintenance%2F{self.node}?namespace=ionet-maintenance"

    def put(self, word: bytes) -> None:
        """Write the node's variable."""
        body = {"Namespace": "ionet-maintenance", "Path": f"ionet/maintenance/{self.node}"}
        self.region.call("PUT", self._variable, {**body, "Items": {"word": word.decode()}})

    def take_back(self) -> None:
        """Remove it."""
        self.region.call("DELETE", self._variable)

    def send(self, word: bytes, *, is_signed: bool = True) -> list[str]:
        """By the region, as the only way; the answer's fields once it is there.

        The word before this one may be answered once more: its template shows it for a moment when there is a variable again.
        """
        before = len(self.answers())
        serial = word.split(b"\nserial ")[1].split(b"\n")[0].decode() if is_signed else "-"

        def found() -> list[list[str]]:
            fields = [line.split("\t") for line in self.answers()[before:]]
            return [each for each in fields if each[1] == serial]

        self.put(word)
        try:
            wait_until(lambda: bool(found()), "an answer", timeout_s=TIMEOUT_S)
        finally:
            self.take_back()
        return found()[0]

    def answers(self) -> list[str]:
        path = self.machine.root / f"{host_paths.ANSWERS_DIR.lstrip('/')}/log"
        return path.read_text().splitlines() if path.exists() else []

    def allocation(self) -> str | None:
        """The id of the door's task that runs there."""
        found = self.region.call("GET", f"/v1/node/{self.node}/allocations")
        running = [
            each for each in found if (each["JobID"], each["ClientStatus"]) == ("ionet-door", "running")
        ]
        return running[0]["ID"] if running else None


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, nomad_program: str) -> Iterator[Door]:
    """A host with a door in a fenced region."""
    directory = tmp_path_factory.mktemp("door")
    key = directory / "signer"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)), check=True)
    with Fleet(1, tmp_path_factory.mktemp("hosts"), options=EXEC) as fleet:
        address = Address("10.77.0.1", prefix=("ip", "netns", "exec", fleet.bridge_namespace))
        write_release(directory / "mirror", "nomad", NOMAD_VERSION, Path(nomad_program))
        with RealRegion(nomad_program, directory / "region", address) as region:
            site = Site(fleet, region, directory)
            fence(region)
            site.write(fleet.machines, meta={"power": "one"})
            site.change(maintenance={"signers": [" ".join(key.with_suffix(".pub").read_text().split())]})
            done = site.enroll()
            assert set(done.outcomes.values()) == {"enrolled"}, done.stderr
            yield Door(site, region, key)


def fence(region: RealRegion) -> None:
    """What an operator of the region does once: the fences, the job's right to its variables, and the tool's rights."""
    for name, driver in (("default", "docker"), ("ionet-maintenance", "exec")):
        namespace = {"Name": name, "Capabilities": {"EnabledTaskDrivers": [driver]}}
        region.call("PUT", f"/v1/namespace/{name}", namespace)
    policy = {"Name": "ionet-door", "Rules": DOOR_POLICY}
    job = {"Namespace": "ionet-maintenance", "JobID": "ionet-door"}
    region.call("PUT", "/v1/acl/policy/ionet-door", {**policy, "JobACL": job})
    region.call("PUT", "/v1/acl/policy/tool", {"Name": "tool", "Rules": TOOL_POLICY})
    write_private(region.directory / "token", region.new_token("ionetctl", "tool").encode())


def control(site: Site, *arguments: str, stdin: bytes = b"", **environment: str) -> Any:
    """What the controller's program printed, run where the region is."""
    argv = site.fleet.controller_argv([sys.executable, "-m", "tests.e2e.door_controller", *arguments])
    given = {**site.environment(), "INVENTORY": str(site.inventory), **environment}
    done = subprocess.run(
        argv, input=stdin, env=given, capture_output=True, check=False, timeout=TIMEOUT_S * 3
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_the_regions_side_is_set_up_and_checked(door: Door) -> None:
    """The job is registered once; the fences are seen, and a namespace without one is named by the check."""
    done = control(door.site, "setup")
    assert done == {
        "changes": ["added", "unchanged"],
        "namespaces": {"default": False, "ionet-maintenance": True},
        "are_all": True,
    }
    fenced = door.site.run("region", "check", str(door.site.inventory), "-o", "json")
    door.region.call("PUT", "/v1/namespace/new", {"Name": "new"})
    opened = door.site.run("region", "check", str(door.site.inventory), "-o", "json")
    door.region.call("DELETE", "/v1/namespace/new")
    found = [
        {finding["code"] for finding in ended.document["regions"][0]["findings"]}
        for ended in (fenced, opened)
    ]
    assert found[1] - found[0] == {"namespace_unfenced"}, (found, fenced.stderr)
    assert (fenced.exit_code, opened.exit_code) == (0, 8)


def test_a_signed_word_changes_a_host_through_its_region(door: Door) -> None:
    """One value of the client's meta: applied, the agent restarted, shown by the region, on a node that takes no jobs."""
    wait_until(lambda: door.allocation() is not None, "the door's task", timeout_s=TIMEOUT_S)
    door.region.call(
        "POST", f"/v1/node/{door.node}/eligibility", {"NodeID": door.node, "Eligibility": "ineligible"}
    )
    started = door.machine.run("systemctl show -p ExecMainStartTimestampMonotonic nomad.service").stdout
    task = door.allocation()
    answer = door.change("two", when="ineligible")
    assert (answer["serial"], answer["outcome"]) == (door.serial, "applied"), answer
    assert door.region.call("GET", "/v1/vars?namespace=ionet-maintenance") == []
    assert door.detail["Meta"]["power"] == "two"
    assert (
        door.machine.run("systemctl show -p ExecMainStartTimestampMonotonic nomad.service").stdout != started
    )
    assert (door.allocation(), door.detail["SchedulingEligibility"]) == (task, "ineligible")


def test_no_other_word_changes_anything(door: Door, tmp_path: Path) -> None:
    """Forged, old, expired, another node's, not yet drained: refused, answered and logged, nothing changed."""
    stranger = tmp_path / "stranger"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(stranger)), check=True)
    before, power = state(door.machine), door.detail["Meta"]["power"]
    words = {
        "word_unsigned": door.word("three", key=stranger),
        "word_old": door.word("three", serial=door.serial - 1_000_000),
        "word_expired": door.word("three", expires_at=int(time.time()) - 1),
        "word_of_other_node": door.word("three", node=NodeId("00000000-0000-4000-8000-000000000000")),
        "node_not_ready": door.word("three", when="drained"),
        "host_changed": door.word("three", stamp="0123456789abcdef-other"),
    }
    answers = {code: door.send(word, is_signed=code != "word_unsigned") for code, word in words.items()}
    assert {code: answer[2:4] for code, answer in answers.items()} == {
        code: ["refused", code] for code in words
    }
    assert (state(door.machine), door.detail["Meta"]["power"]) == (before, power)
    logged = door.machine.run("journalctl -u ionet-maintenance.service -o cat --no-pager").stdout
    assert [code for code in words if f"refused {code}" not in logged] == []


def test_a_drained_node_is_changed_and_a_change_that_cuts_it_off_is_put_back(door: Door) -> None:
    """The door's task outlives the drain; a configuration with which the region loses the node does not stay."""
    drain = {"DrainSpec": {"Deadline": -1, "IgnoreSystemJobs": True}, "MarkEligible": False}
    door.region.call("POST", f"/v1/node/{door.node}/drain", {"NodeID": door.node, **drain})
    wait_until(lambda: door.detail["DrainStrategy"] is None, "the end of the drain", timeout_s=TIMEOUT_S)
    applied = door.send(door.word("four", when="drained"))
    assert applied[2] == "applied", applied
    cut_off = door.payload("five", door.region.rpc, "10.77.0.1:9")
    failed = door.send(door.word("five", payload=cut_off, confirm_s=20))
    assert failed[2:4] == ["failed", "not_confirmed"], failed
    wait_until(lambda: door.detail["Status"] == "ready", "the node", timeout_s=TIMEOUT_S)
    assert door.detail["Meta"]["power"] == "four"
    assert door.region.rpc in door.machine.read(host_paths.CLIENT_CONFIG)


def test_power_cut_before_the_region_confirms(door: Door) -> None:
    """The host comes back with what the region had confirmed last, and its door is open."""
    cut_off = door.payload("six", door.region.rpc, "10.77.0.1:9")
    door.put(door.word("six", payload=cut_off, confirm_s=300))
    config = host_paths.CLIENT_CONFIG
    wait_until(lambda: "10.77.0.1:9" in door.machine.read(config), "the change", timeout_s=TIMEOUT_S)
    wait_until(
        lambda: door.machine.run("systemctl is-active nomad", check=False).stdout == "active\n",
        "the agent",
        timeout_s=60,
    )
    door.machine.power_cut()
    door.take_back()
    door.machine.boot()
    wait_until(
        lambda: door.region.rpc in door.machine.read(config), "the old configuration", timeout_s=TIMEOUT_S
    )
    door.machine.wait_for_ssh()
    wait_until(lambda: door.detail["Status"] == "ready", "the node", timeout_s=TIMEOUT_S)
    assert door.answers()[-1].split("\t")[2:4] == ["failed", "interrupted"]
    assert door.send(door.word("seven"))[2] == "applied"
    assert door.detail["Meta"]["power"] == "seven"


def test_who_writes_to_the_drop_all_the_time_does_not_close_the_door(door: Door) -> None:
    """Neither systemd's limits nor what lies there: once that has ended the next word is carried out."""
    drop, before = host_paths.DROP_DIR, len(door.answers())
    knocks = f"while :; do echo junk >{drop}/.junk; mv -f {drop}/.junk {drop}/region.word; sleep 0.1; done"
    door.machine.run(f"systemd-run --unit knocker sh -c '{knocks}'")
    wait_until(lambda: len(door.answers()) >= before + 5, "refused words", timeout_s=TIMEOUT_S)
    door.machine.run("systemctl stop knocker")
    assert door.machine.run("systemctl is-active ionet-maintenance.path").stdout == "active\n"
    wait_until(
        lambda: not (door.machine.root / drop.lstrip("/") / "region.word").exists(),
        "the last of them",
        timeout_s=60,
    )
    assert {line.split("\t")[3] for line in door.answers()[before:]} == {"word_unsigned"}
    power = door.detail["Meta"]["power"]
    assert door.send(door.word(f"{power}-again"))[2] == "applied"


def test_who_may_submit_jobs_is_not_root(door: Door) -> None:
    """Without a signer's key: no exec, java or raw_exec outside of the door's namespace, and no task that mounts the drop."""
    door.region.call(
        "POST",
        "/v1/acl/policy/tenant",
        {"Name": "tenant", "Rules": 'namespace "default" { capabilities = ["submit-job", "read-job"] }'},
    )
    tenant = door.region.new_token("tenant")
    volume = {"drop": {"Name": "drop", "Type": "host", "Source": "ionet-drop"}}

    def submit(driver: str, namespace: str = "default", **group: Any) -> int:
        task = {"Name": "t", "Driver": driver, "Config": {"command": "/bin/true", "image": "busybox"}}
        groups = [{"Name": "g", "Count": 1, "Tasks": [task], **group}]
        job = {
            "ID": f"j-{driver}",
            "Namespace": namespace,
            "Type": "batch",
            "Datacenters": ["*"],
            "TaskGroups": groups,
        }
        return door.region.request(
            "PUT", f"/v1/jobs?namespace={namespace}", {"Job": job}, token=tenant
        ).status

    assert [submit(driver) for driver in ("exec", "java", "raw_exec")] == [500, 500, 500]
    assert (submit("docker", Volumes=volume), submit("exec", "ionet-maintenance")) == (403, 403)
    assert submit("docker") == 200


def state(machine: Machine) -> str:
    """What tells whether the host was touched."""
    return machine.run(
        "find /etc/nomad.d /etc/ionet /opt/nomad/releases /etc/systemd/system -type f -printf '%p %T@ %C@\\n' | sort; "
        "systemctl show -p ExecMainStartTimestampMonotonic nomad.service"
    ).stdout
