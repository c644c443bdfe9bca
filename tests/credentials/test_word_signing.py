"""Words are signed by ssh-keygen: with a file, with an agent, and not at all where it fails."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import ConfigurationError
from ionetctl.credentials.word_signing import sign
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENVIRON = {"PATH": os.environ["PATH"]}
TEXT = b"ionet-maintenance 1\n\nAAAA\n"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    needs("ssh-keygen")
    path = tmp_path / "signer"
    made = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path))
    subprocess.run(made, check=True)
    return path


@pytest.fixture
def lost_key(key: Path) -> Path:
    """Only its public half is still there."""
    key.unlink()
    return key


@pytest.fixture
def agent(key: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a user whose agent has the key, which has left the disk."""
    needs("ssh-agent", "ssh-add")
    socket = tmp_path / "agent"
    with subprocess.Popen(("ssh-agent", "-D", "-a", str(socket)), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        environ = {**ENVIRON, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run(("ssh-add", "-q", str(key)), env=environ, check=True, capture_output=True)
        key.unlink()
        yield environ
        process.terminate()


def is_good(text: bytes, signature: bytes, key: Path) -> bool:
    """By the check that hosts make."""
    signers, signed = key.parent / "allowed", key.parent / "signature"
    signers.write_text(f'operator namespaces="ionet-maintenance" {key.with_suffix(".pub").read_text()}')
    signed.write_bytes(signature)
    argv = ("ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "operator", "-n", "ionet-maintenance")
    return (
        subprocess.run((*argv, "-s", str(signed)), input=text, capture_output=True, check=False).returncode
        == 0
    )


async def test_a_key_file_signs(key: Path) -> None:
    """As a host checks it; another text or purpose is not what was signed."""
    signature = await sign(TEXT, str(key), "ionet-maintenance", ENVIRON)
    elsewhere = await sign(TEXT, str(key), "git", ENVIRON)
    assert is_good(TEXT, signature, key)
    assert not is_good(TEXT + b" ", signature, key)
    assert not is_good(TEXT, elsewhere, key)


async def test_an_agent_signs_with_a_key_that_is_not_at_hand(key: Path, agent: dict[str, str]) -> None:
    """The public key is named."""
    signature = await sign(TEXT, str(key.with_suffix(".pub")), "ionet-maintenance", agent)
    assert is_good(TEXT, signature, key)


async def test_a_key_that_nobody_has_signs_nothing(lost_key: Path) -> None:
    """A public key without file and agent, and a path that is none."""
    for path in (lost_key.with_suffix(".pub"), lost_key.parent / "none"):
        with pytest.raises(ConfigurationError, match=r"ssh-keygen ended with 255: ") as caught:
            await sign(TEXT, str(path), "ionet-maintenance", ENVIRON)
        assert caught.value.code == "signing_failed"


async def test_ssh_keygen_gets_no_variable_that_it_does_not_need(tmp_path: Path) -> None:
    """A token of a region, or of anything else, is in the environment of ionetctl alone."""
    (tmp_path / "ssh-keygen").write_text("#!/bin/sh\nexec env\n")
    (tmp_path / "ssh-keygen").chmod(0o755)
    passed = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": "/home/ada", "SSH_AUTH_SOCK": "/run/agent"}
    secret = {"IONET_EU_NORTH_TOKEN": "t", "VAULT_TOKEN": "v", "LD_PRELOAD": "", "SSH_TOKEN": "s"}
    printed = await sign(TEXT, "key", "ionet-maintenance", {**passed, **secret})
    shown = dict(line.split("=", 1) for line in printed.decode().splitlines())
    assert {
        name: value for name, value in shown.items() if name not in {"PWD", "_", "SHLVL", "OLDPWD"}
    } == passed


@pytest.mark.parametrize(
    ("script", "said"),
    [("exec sleep 60", r"did not end within 0.2 s"), (None, r"cannot be started: No such file or directory")],
    ids=["hangs", "missing"],
)
async def test_a_program_that_does_not_sign_is_given_up(
    tmp_path: Path, script: str | None, said: str
) -> None:
    """In time, and with the reason."""
    if script:
        (tmp_path / "ssh-keygen").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "ssh-keygen").chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin" if script else str(tmp_path)}
    with pytest.raises(ConfigurationError, match=re.compile(said)):
        await sign(TEXT, "key", "ionet-maintenance", environ, patience_s=0.2)
