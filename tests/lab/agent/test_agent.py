"""The stand-in for the agent: what it registers, when the region refuses it, and that it logs what Nomad logs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

import ionetctl
from ionetctl.lab import certificates
from ionetctl.lab.agent.agent import AgentStartError
from ionetctl.lab.agent.config import validate_config
from ionetctl.lab.region.state.region_state import RegionState
from tests.lab.running import Rig, RunningRegion, run_until

COMPLETE = "client: node registration complete"
DENIED = 'client: error registering: error="rpc error: Permission denied"'


def only_node(region: RunningRegion) -> dict[str, object]:
    (node,) = region.state.nodes.values()
    return node


async def test_a_sound_host_registers_its_gpus(rig: Rig, region: RunningRegion) -> None:
    """The node shows its cards by name and number."""
    await run_until(rig.agent(), rig.log, COMPLETE)
    (node,) = region.state.nodes.values()
    devices = node["NodeResources"]["Devices"]
    assert [(each["Name"], len(each["Instances"])) for each in devices] == [("NVIDIA GeForce RTX 4090", 2)]


async def test_a_sound_host_registers_in_its_place(rig: Rig, region: RunningRegion) -> None:
    """The node has its name, pool and datacenter: the control of all refusals."""
    await run_until(rig.agent(), rig.log, COMPLETE)
    node = only_node(region)
    assert (node["Name"], node["NodePool"], node["Datacenter"]) == ("rig-1", "gpu", "lab1")


async def test_a_node_becomes_ready_by_its_first_heartbeat(region: RunningRegion) -> None:
    """A registration alone leaves a node initializing; the heartbeat makes it ready."""
    node = {"ID": "n", "Name": "a", "NodePool": "gpu", "Attributes": {}}
    jwt = region.state.signer.mint_introduction("a", "gpu", 60, time.time())
    region.state.register(node, "secret", jwt, time.time())
    before = region.state.nodes["n"]["Status"]
    region.state.heartbeat("n", "secret", "", time.time())
    assert (before, region.state.nodes["n"]["Status"]) == ("initializing", "ready")


async def test_state_files_are_private(rig: Rig) -> None:
    """Ids and identity are in files of mode 0600, as with Nomad."""
    await rig.run_until(COMPLETE)
    state = rig.tree / "opt/nomad/data/client"
    modes = {
        name: oct((state / name).stat().st_mode & 0o777) for name in ("client-id", "secret-id", "state.db")
    }
    assert modes == dict.fromkeys(("client-id", "secret-id", "state.db"), "0o600")


async def test_a_foreign_ca_of_the_certificate_is_refused(rig: Rig, region: RunningRegion) -> None:
    """A certificate of another CA fails in the handshake, and no node appears."""
    rig.certify(certificates.new_authority("somebody else"))
    await rig.run_until("remote error: tls: unknown certificate authority")
    assert region.state.nodes == {}


async def test_a_certificate_of_another_role_is_refused(rig: Rig, region: RunningRegion) -> None:
    """A certificate without client.<region>.nomad gets an alert, and no node appears."""
    rig.certify(region.authority, "client.us-west.nomad")
    await rig.run_until("remote error: tls: bad certificate")
    assert region.state.nodes == {}


async def test_servers_log_a_certificate_of_another_role(rig: Rig, region: RunningRegion) -> None:
    """They name what the certificate has instead."""
    rig.certify(region.authority, "client.us-west.nomad")
    await rig.run_until("remote error: tls: bad certificate")
    assert region.state.server_log == [
        "invalid role or region for certificate: client.us-west.nomad, localhost"
    ]


async def test_a_wrong_ca_file_on_the_host_refuses_the_region(rig: Rig, tmp_path: Path) -> None:
    """The agent refuses a server with a certificate of another CA."""
    certificates.new_authority("somebody else").write(
        rig.tree / "etc/nomad.d/tls/ca.pem", tmp_path / "unused"
    )
    await rig.run_until("x509: certificate signed by unknown authority")


async def test_a_region_of_another_name_is_not_its_server(rig: Rig) -> None:
    """The configured region must be the one in the server's certificate."""
    rig.configure(region="mars")
    await rig.run_until(
        "x509: certificate is valid for server.eu-north.nomad, localhost, not server.mars.nomad"
    )


async def test_an_expired_certificate_is_refused(rig: Rig, region: RunningRegion) -> None:
    """An expired certificate gets an alert."""
    tls = rig.tree / "etc/nomad.d/tls"
    past = certificates.issue(region.authority, "client.eu-north.nomad", days=0)
    past.write(tls / "client.pem", tls / "client-key.pem")
    await rig.run_until("remote error: tls: expired certificate")


async def test_no_introduction_is_denied(rig: Rig, region: RunningRegion) -> None:
    """Under strict enforcement a node without a token does not appear."""
    (rig.tree / "opt/nomad/data/client/intro_token.jwt").unlink()
    await rig.run_until(DENIED)
    assert region.state.nodes == {}


async def test_only_the_regions_log_says_that_a_token_is_missing(rig: Rig, region: RunningRegion) -> None:
    """The agent's own log says no more than that permission was denied."""
    (rig.tree / "opt/nomad/data/client/intro_token.jwt").unlink()
    await rig.run_until(DENIED)
    assert region.state.server_log == ["node rig-1: registration denied: no token"]


async def test_an_introduction_of_another_name_is_denied(rig: Rig, region: RunningRegion) -> None:
    """A token is bound to the node's name."""
    rig.introduce(await region.introduce("rig-2"))
    await rig.run_until(DENIED)
    assert region.state.nodes == {}


async def test_an_introduction_is_read_at_start_only(rig: Rig, region: RunningRegion) -> None:
    """A token that appears after the start is not seen."""
    token = rig.tree / "opt/nomad/data/client/intro_token.jwt"
    good = token.read_text()
    token.unlink()
    agent = rig.agent()
    token.write_text(good)
    await run_until(agent, rig.log, DENIED)
    assert region.state.nodes == {}


async def test_a_known_node_needs_no_introduction(rig: Rig) -> None:
    """Without a token, without its saved identity, a known id with its secret registers again."""
    await rig.run_until(COMPLETE)
    for name in ("intro_token.jwt", "state.db"):
        (rig.tree / "opt/nomad/data/client" / name).unlink()
    rig.log.clear()
    await rig.run_until(COMPLETE)


async def test_a_known_id_with_another_secret_is_refused(rig: Rig) -> None:
    """A cloned id is detected by its secret."""
    await rig.run_until(COMPLETE)
    (rig.tree / "opt/nomad/data/client/secret-id").write_text(str(uuid.uuid4()))
    await rig.run_until("node secret ID does not match. Not registering node.")


async def test_a_purged_node_comes_back_by_its_identity(rig: Rig, region: RunningRegion) -> None:
    """After a purge, without a token, the saved identity is enough, under strict too."""
    await rig.run_until(COMPLETE)
    (rig.tree / "opt/nomad/data/client/intro_token.jwt").unlink()
    region.state.purge(str(only_node(region)["ID"]))
    rig.log.clear()
    await rig.run_until(COMPLETE)
    assert only_node(region)["Name"] == "rig-1"


async def test_an_identity_of_another_region_hides_the_introduction(rig: Rig, region: RunningRegion) -> None:
    """With a saved identity of another region the agent never presents its token, and is always denied."""
    state = rig.tree / "opt/nomad/data/client"
    foreign = RegionState("us-west").signer.mint_identity("n", "gpu", time.time())
    (state / "state.db").write_text(json.dumps({"identity": foreign}))
    await rig.run_until(DENIED)
    assert region.state.nodes == {}


@pytest.mark.parametrize("plugin", ["nvidia-gpu", "nvidia"])
async def test_a_plugin_label_without_executable_shows_no_gpu(
    rig: Rig, region: RunningRegion, plugin: str
) -> None:
    """With a label that differs from the executable's name the agent runs, and the node has no GPU."""
    rig.configure(plugin=plugin)
    await rig.run_until(COMPLETE)
    node = region.state.nodes[str(only_node(region)["ID"])]
    assert node["NodeResources"]["Devices"] is None


async def test_without_the_plugins_executable_there_is_no_gpu(rig: Rig, region: RunningRegion) -> None:
    """The ``plugin`` block alone is not enough."""
    (rig.tree / "opt/nomad/plugins/nomad-device-nvidia").unlink()
    await rig.run_until(COMPLETE)
    assert region.state.nodes[str(only_node(region)["ID"])]["NodeResources"]["Devices"] is None


async def test_a_pool_that_does_not_exist_leaves_the_node_initializing(
    rig: Rig, region: RunningRegion
) -> None:
    """In a region that is not authoritative the agent logs no error, and the node never becomes ready."""
    rig.configure(pool="nosuch")
    rig.introduce(await region.introduce("rig-1", "nosuch"))
    await rig.run_until(COMPLETE)
    assert only_node(region)["Status"] == "initializing"


@pytest.mark.parametrize(
    ("servers", "line"),
    [
        ("127.0.0.1:1", "dial tcp 127.0.0.1:1: connect: connection refused"),
        ("nomad.invalid:4647", "no servers available"),
    ],
)
async def test_an_unreachable_region_is_logged_in_gos_words(rig: Rig, servers: str, line: str) -> None:
    """Refused connections and unresolved names are logged as Nomad logs them."""
    rig.configure(servers=servers)
    await rig.run_until(line)


async def test_a_host_without_a_route_logs_it(rig: Rig) -> None:
    """The fault ``no-route`` is logged as a missing route."""
    agent = rig.agent()
    agent.has_route = False
    await run_until(agent, rig.log, "connect: no route to host")


async def test_a_key_of_another_certificate_ends_the_start(
    rig: Rig, region: RunningRegion, tmp_path: Path
) -> None:
    """A key that does not match its certificate ends the start, with Nomad's message."""
    other = certificates.issue(region.authority, "client.eu-north.nomad")
    other.write(tmp_path / "unused.pem", rig.tree / "etc/nomad.d/tls/client-key.pem")
    with pytest.raises(
        AgentStartError, match=r"Failed to load cert/key pair: tls: private key does not match"
    ):
        rig.agent()


async def test_a_missing_tls_file_ends_the_start(rig: Rig) -> None:
    """Validation only warns of it, but the agent does not start."""
    (rig.tree / "etc/nomad.d/tls/client.pem").unlink()
    with pytest.raises(AgentStartError, match="Failed to load cert/key pair"):
        rig.agent()


async def test_a_key_that_a_driver_does_not_know_ends_the_start(rig: Rig) -> None:
    """As with Nomad, though the configuration is valid."""
    (rig.tree / "etc/nomad.d/java.hcl").write_text(
        'plugin "java" {\n  config {\n    denied_host_uids = "0"\n  }\n}\n'
    )
    assert validate_config(rig.tree, "/etc/nomad.d", "2.0.5")[0] == 0
    message = r'plugin "java" \(driver\): failed to parse config:  Invalid label: .* named "denied_host_uids"'
    with pytest.raises(AgentStartError, match=message):
        rig.agent()


@pytest.mark.parametrize(
    ("client", "message"),
    [
        ('template {\n function_denylist = "plugin"\n}', "client.template.function_denylist: cannot parse"),
        (
            'template {\n disable_file_sandbox = "yes"\n}',
            "client.template.disable_file_sandbox: cannot parse",
        ),
        ('chroot_env {\n "/x" = ["a"]\n}', "client.chroot_env./x: cannot parse"),
        ('chroot_environment {\n "/x" = "/y"\n}', "unexpected keys client.chroot_environment"),
    ],
)
async def test_a_fence_that_is_no_fence_is_invalid(rig: Rig, client: str, message: str) -> None:
    """What Nomad refuses of chroot_env and template."""
    (rig.tree / "etc/nomad.d/fence.hcl").write_text(f"client {{\n{client}\n}}\n")
    status, lines = validate_config(rig.tree, "/etc/nomad.d", "2.0.5")
    assert (status, message in lines[0]) == (1, True), lines


async def test_a_template_key_that_nomad_does_not_know_passes(rig: Rig) -> None:
    """Nomad does not look at them."""
    (rig.tree / "etc/nomad.d/fence.hcl").write_text("client {\ntemplate {\nfunction_denylst = []\n}\n}\n")
    assert validate_config(rig.tree, "/etc/nomad.d", "2.0.5")[0] == 0


@pytest.mark.parametrize(
    ("allowed", "expected"), [("docker", ["docker"]), ("docker,exec", ["docker", "exec"]), ("", None)]
)
async def test_an_agent_shows_the_drivers_that_it_allows(
    rig: Rig, region: RunningRegion, allowed: str, expected: list[str] | None
) -> None:
    """Without a list, all; the others are not even looked for."""
    options = f'options {{\n"driver.allowlist" = "{allowed}"\n}}' if allowed else ""
    (rig.tree / "etc/nomad.d/fence.hcl").write_text(f"client {{\n{options}\n}}\n")
    await run_until(rig.agent(), rig.log, COMPLETE)
    everything = ["docker", "exec", "java", "qemu", "raw_exec"]
    (node,) = region.state.nodes.values()
    assert sorted(node["Drivers"]) == (expected or everything)
    assert ("driver.exec" in node["Attributes"]) == ("exec" in (expected or everything))


async def test_a_silent_agent_is_marked_down_after_its_ttl(rig: Rig, region: RunningRegion) -> None:
    """The node stays ready until the heartbeat's TTL and grace period have passed."""
    await rig.run_until(COMPLETE)
    region.state.update(time.time() + 1)
    soon = only_node(region)["Status"]
    region.state.update(time.time() + 60)
    assert (soon in ("ready", "initializing"), only_node(region)["Status"]) == (True, "down")


@pytest.mark.parametrize(
    ("modules", "status"),
    [("ionetctl.lab.agent.agent, ionetctl.lab.agent.config", 0), ("ionetctl.lab.host.ssh_server", 1)],
)
def test_the_agent_imports_the_standard_library_only(modules: str, status: int) -> None:
    """It also runs on hosts without our libraries; a module that needs asyncssh is the control."""
    program = f"import sys; sys.path.append(sys.argv[1]); import {modules}"
    command = [sys.executable, "-I", "-S", "-c", program, str(Path(ionetctl.__file__).parents[1])]
    assert subprocess.run(command, check=False, capture_output=True).returncode == status
