"""Events to JSON and back: every type, flat as the contract has it, and nothing that is none."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from ionetctl.core import events
from ionetctl.core.events import SCHEMA, AnyEvent, Envelope, HostEntry, RegionEntry, decode, encode
from ionetctl.core.model.facts import MachineIdentity
from ionetctl.core.model.installed import Installed, InstalledFile, InstalledGpu
from ionetctl.core.model.names import Digest, HostName, NodeId, RegionName, RolloutId
from ionetctl.core.model.outcome import Finding, Outcome, Problem, Result, Severity
from ionetctl.core.model.plan import Action, Change, FileDiff

HOST = HostName("rey1-a01-g1")
NODE = NodeId("bfbc1015-4058-f3b4-baef-e92ffc4ecb53")
EU = RegionName("eu-north")
OUTCOME = Outcome(
    HOST,
    "10.20.1.1",
    EU,
    "rey1",
    Result.FAILED,
    node_id=NODE,
    gpus_expected=8,
    gpus_seen=7,
    duration_s=4.25,
    attempts=2,
    problem=Problem("gpu_count_mismatch", "survey", "7 GPUs seen, 8 promised", "reseat it", 5),
)
SAMPLES: tuple[AnyEvent, ...] = (
    events.RolloutStarted(
        rollout=RolloutId("20261123T011226-k3f9qa"),
        inventory="site.yaml",
        inventory_digest="ab" * 32,
        owner="ops@ctl",
        version="0.1.0",
        hosts=(HostEntry(HOST, "10.20.1.1", EU, "rey1", "a01", "gpu", 8, "rtx-4090"),),
        regions=(
            RegionEntry(
                EU, ("https://n:4646",), "PEM", "server.eu", "env", "TOKEN", None, None, None, "auto", 10_000
            ),
        ),
        command=("enroll", "site.yaml"),
        details=("site_row=7",),
    ),
    events.RolloutResumed(owner="ops@ctl", done=3, version="0.2.0", inventory_digest="cd" * 32),
    events.RegionChecked(region=EU, server_version="2.0.5", enforcement=None),
    events.RegionWaited(
        region=EU,
        address="https://n:4646",
        attempt=1,
        waited_s=3.0,
        code="region_unreachable",
        message="no answer",
    ),
    events.HostKeyAccepted(host=HOST, fingerprint="SHA256:abc", known_as="[10.20.1.1]:2222"),
    events.StepStarted(host=HOST, step="apply", attempt=1, detail="verify"),
    events.StepFinished(host=HOST, step="survey", attempt=1, duration_s=0.5),
    events.StepRetried(
        host=HOST, step="survey", attempt=1, code="connection_lost", message="gone — é", delay_s=1.5
    ),
    events.HostSurveyed(
        host=HOST,
        os="Ubuntu 24.04",
        architecture="x86_64",
        gpus_seen=None,
        machine_id=None,
        node_id=NODE,
        findings=(Finding("clock_off", Severity.WARN, "31 s", "set it"),),
        identity=MachineIdentity("10.20.1.1 port 22", "SHA256:abc", None, ("GPU-1",)),
    ),
    events.HostJudged(
        host=HOST, findings=(Finding("mac_doubled", Severity.WAIVED, "m", "h", 5, Severity.WARN, "so"),)
    ),
    events.FilesObtained(host=HOST, origin="peer", peer=HOST, pushed_bytes=0, fetched_bytes=2_359_959),
    events.HostPlaced(host=HOST, region=EU, reasons=("12 ms", "3,120 of 10,000 nodes")),
    events.HostPrepared(
        host=HOST,
        preparation="docker",
        detail="installed docker.io",
        digests={"docker.io_1_all.deb": Digest("ab" * 32)},
    ),
    events.HostRebooting(host=HOST, reason="a new driver"),
    events.NodeHeld(host=HOST, node_id=NODE, code="gpu_count_mismatch", message="7 of 8"),
    events.NodeReleased(host=HOST, node_id=NODE),
    events.HostPlanned(
        host=HOST,
        changes=(Change(Action.RENEW, "/etc/nomad.d/tls/client.pem", "old"),),
        stamp="ab-cd",
        diffs=(FileDiff("/etc/nomad.d/docker.hcl", ("-a", "+b")),),
    ),
    events.TokenMinted(host=HOST, expires_at="2026-11-23T01:17:26+00:00"),
    events.HostConfirmed(host=HOST, node_id=NODE, stamp="ab-cd", gpus_seen=8),
    events.HostInstalled(
        host=HOST,
        region=EU,
        stamp="ab-cd",
        replaces="ab-00",
        installed=Installed(
            files=(InstalledFile("/etc/nomad.d/nomad.hcl", Digest("ab" * 32), 0o640, "root:root"),),
            links={"/usr/local/bin/nomad": "/opt/nomad/releases/2.0.5/nomad"},
            architecture="x86_64",
            gpus=(InstalledGpu(0, "NVIDIA H100", "GPU-1", 81559, 700.0, (("MIG-1", "1g.10gb"),)),),
            rig=("hiveos", "1", None),
        ),
    ),
    events.KeyClosing(
        host=HOST, account="miner", key="ssh-ed25519 AAAA", files=("/home/miner/.ssh/authorized_keys",)
    ),
    events.KeyClosed(host=HOST, account="miner", fingerprint="SHA256:abc"),
    events.SshOpened(host=HOST, cause="still_open", message="the key still logs in"),
    events.NodeProgressed(host=HOST, waits_for="3 allocations", left=3),
    events.HostFinished(host=HOST, outcome=OUTCOME, node_pool="gpu", rack="a01", stamp="ab-cd"),
    events.PlanConfirmed(waited_s=12.5),
    events.WaveStarted(index=1, of=2, hosts=(HOST,), is_canary=True),
    events.WaveFinished(index=1, of=2, failed=0),
    events.RolloutStopped(code="interrupted", message="SIGINT"),
    events.RolloutFinished(exit_code=130),
    events.Warned(code="sink_failed", message="off", hint="mend it"),
)


def line(**changes: object) -> bytes:
    """A line of a journal, with fields that are other ones."""
    whole = json.loads(encode(Envelope(1, "2026-11-23T01:12:26.000Z", SAMPLES[1])))
    return json.dumps(whole | changes).encode()


def test_samples_have_every_type() -> None:
    """No type of event goes untried."""
    assert {type(sample) for sample in SAMPLES} == set(get_args(AnyEvent))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_event_survives_the_journal(sample: AnyEvent) -> None:
    """What was written is what is read."""
    envelope = Envelope(7, "2026-11-23T01:12:26.000Z", sample)
    assert decode(encode(envelope)) == envelope


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample).__name__)
def test_event_is_one_flat_line(sample: AnyEvent) -> None:
    """The contract's fields stand beside the event's own, without a line break."""
    encoded = encode(Envelope(7, "2026-11-23T01:12:26.000Z", sample))
    document = json.loads(encoded)
    assert b"\n" not in encoded
    assert (document["schema"], document["seq"], document["host"]) == (SCHEMA, 7, sample.host)
    assert list(document)[:4] == ["schema", "seq", "time", "type"]


def test_types_are_named_in_snake_case() -> None:
    """The names that users match are stable and of one form."""
    assert [sample.__struct_config__.tag for sample in SAMPLES] == [
        "rollout_started",
        "rollout_resumed",
        "region_checked",
        "region_waited",
        "host_key_accepted",
        "step_started",
        "step_finished",
        "step_retried",
        "host_surveyed",
        "host_judged",
        "files_obtained",
        "host_placed",
        "host_prepared",
        "host_rebooting",
        "node_held",
        "node_released",
        "host_planned",
        "token_minted",
        "host_confirmed",
        "host_installed",
        "key_closing",
        "key_closed",
        "ssh_opened",
        "node_progressed",
        "host_finished",
        "plan_confirmed",
        "wave_started",
        "wave_finished",
        "rollout_stopped",
        "rollout_finished",
        "warned",
    ]


def test_fields_of_later_versions_are_passed_over() -> None:
    """A newer ionetctl may say more; an older one still reads what it knows."""
    assert decode(line(mood="good")) == decode(line())


@pytest.mark.parametrize(
    ("torn", "reason"),
    [
        (b"", "not an event"),
        (b"{", "not an event"),
        (line()[:-7], "not an event"),
        (b"[]", "not an event"),
        (b"null", "not an event"),
        (b'{"schema":"ionetctl.event/1"}', "not an event"),
        (line(type="rollout_exploded"), "not an event"),
        (line(seq="one"), "not an event"),
        (line(done=None), "not an event"),
        (b"\xff\xfe", "not an event"),
        (line(time="yesterday"), "not an event"),
        (line(time="2026-11-26T16:38:48"), "no zone"),
        (line()[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deep"),
        (line(schema="ionetctl.event/2"), "another schema"),
    ],
)
def test_what_is_no_event_is_refused(torn: bytes, reason: str) -> None:
    """Torn, foreign and future lines are distinguished from events."""
    with pytest.raises(ValueError, match=reason):
        decode(torn)


def test_what_announces_a_change() -> None:
    """An apply, a key that is used or taken away, a token that is handed out, a reboot, and where the record begins and ends."""
    announcing: dict[AnyEvent, bool] = {
        events.StepStarted(host=HostName("g1"), step="apply", attempt=1): True,
        events.StepStarted(host=HostName("g1"), step="apply", attempt=1, detail="install"): False,
        events.StepStarted(host=HostName("g1"), step="survey", attempt=1): False,
        events.HostKeyAccepted(host=HostName("g1"), fingerprint="SHA256:x", known_as="g1"): True,
        events.TokenMinted(host=HostName("g1"), expires_at="2026-11-23T01:12:26Z"): True,
        events.HostRebooting(host=HostName("g1"), reason="driver"): True,
        events.KeyClosing(host=HostName("g1"), account="miner", key="ssh-rsa A", files=()): True,
        events.KeyClosed(host=HostName("g1"), account="miner", fingerprint="SHA256:x"): False,
        events.RolloutResumed(owner="o", done=0): True,
        events.RolloutFinished(exit_code=0): True,
        events.RolloutStopped(code="interrupted", message="SIGINT"): False,
    }
    assert {event: events.announces_change(event) for event in announcing} == announcing
