"""What a node's log says about its not coming: lines as real agents write them, and the cause that they show."""

from __future__ import annotations

import pytest

from ionetctl.verification.log_diagnosis import SYMPTOMS, diagnose

RPC = "[ERROR] client.rpc: error performing RPC to server: error="
CASES = [
    (
        'client: error registering: error="rpc error: Permission denied"',
        "introduction_denied",
    ),
    (
        f'{RPC}"rpc error: Permission denied" rpc=Node.Register server=10.77.0.1:4647',
        "introduction_denied",
    ),
    (
        'error registering: error="rpc error: node secret ID does not match. Not registering node."',
        "client_id_cloned",
    ),
    (
        f'{RPC}"rpc error: failed to get conn: remote error: tls: bad certificate" rpc=Node.Register',
        "node_certificate_refused",
    ),
    (f'{RPC}"remote error: tls: certificate required" rpc=Node.Register', "node_certificate_refused"),
    (f'{RPC}"remote error: tls: expired certificate" rpc=Node.Register', "node_certificate_refused"),
    (
        f'{RPC}"remote error: tls: unknown certificate authority" rpc=Node.Register',
        "node_certificate_untrusted",
    ),
    (
        f'{RPC}"tls: failed to verify certificate: x509: certificate signed by unknown authority"',
        "wrong_ca_on_node",
    ),
    (
        f'{RPC}"x509: certificate is valid for server.us-west.nomad, localhost, not server.eu-north.nomad"',
        "wrong_region_servers",
    ),
    (
        f'{RPC}"tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time"',
        "server_certificate_expired",
    ),
    (
        f'{RPC}"rpc error: failed to get conn: dial tcp 10.77.0.9:4647: connect: no route to host"',
        "servers_unreachable",
    ),
    (f'{RPC}"rpc error: failed to get conn: dial tcp 10.77.0.9:4647: i/o timeout"', "servers_unreachable"),
    (
        f'{RPC}"rpc error: failed to get conn: dial tcp 10.77.0.9:4647: connect: connection refused"',
        "servers_unreachable",
    ),
    (
        "[ERROR] client: none of the configured servers are valid: servers=[nomad-1.example]",
        "servers_unresolved",
    ),
    ('[WARN] client: error heartbeating: error="no servers available"', "servers_unresolved"),
    ("==> Failed to load cert/key pair: tls: private key does not match public key", "node_pair_mismatch"),
    ("[ERROR] agent: failed to create nomad cgroup: read-only file system", "cgroups_unavailable"),
]


@pytest.mark.parametrize(("line", "code"), CASES, ids=[f"{code}-{i}" for i, (_, code) in enumerate(CASES)])
def test_line_shows_its_cause(line: str, code: str) -> None:
    """Whatever stands around it, with a remedy."""
    found = diagnose(["[INFO] agent: started", line, "[INFO] agent: going on"])
    assert found is not None
    assert (found.code, bool(found.message), bool(found.hint)) == (code, True, True)


def test_every_row_of_the_table_has_a_case() -> None:
    """A new row needs a line that shows it."""
    assert {symptom.diagnosis.code for symptom in SYMPTOMS} == {code for _, code in CASES}


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["[INFO] client: node registration complete"],
        ["[WARN] client.fingerprint_mgr: open /sys/kernel/x: permission denied"],
        ["Permission denied"],
    ],
)
def test_other_lines_show_nothing(lines: list[str]) -> None:
    """A permission that a file denies is not the region's."""
    assert diagnose(lines) is None


def test_causes_stand_before_their_consequences() -> None:
    """A refused certificate makes the servers look unavailable a moment later."""
    lines = ['error="no servers available"', 'error="remote error: tls: bad certificate"']
    found = diagnose(lines)
    assert found is not None
    assert found.code == "node_certificate_refused"
