"""Where things lie on a host: as the contract has it, and as the scripts have it."""

from __future__ import annotations

import re

import pytest

from ionetctl.core import host_paths
from ionetctl.remote import apply_script, receive_script
from tests.support.survey_alone import survey_script


def test_paths_are_those_of_the_contract() -> None:
    """An admin who knows Nomad looks in these places."""
    assert (
        host_paths.UNIT_NAME,
        host_paths.CONFIG_DIR,
        host_paths.DATA_DIR,
        host_paths.NOMAD_LINK,
        host_paths.OUR_DIR,
    ) == (
        "nomad.service",
        "/etc/nomad.d",
        "/opt/nomad/data",
        "/usr/local/bin/nomad",
        "/var/lib/ionet",
    )


def test_releases_lie_side_by_side() -> None:
    """Each version has a directory of its own, so that a switch is one rename."""
    assert (host_paths.nomad_program("2.0.5"), host_paths.device_plugin_program("1.1.0")) == (
        "/opt/nomad/releases/2.0.5/nomad",
        "/opt/nomad/releases/nomad-device-nvidia-1.1.0/nomad-device-nvidia",
    )


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("config_dir", host_paths.CONFIG_DIR),
        ("tls_dir", host_paths.TLS_DIR),
        ("data_dir", host_paths.DATA_DIR),
        ("releases_dir", host_paths.RELEASES_DIR),
        ("plugin_dir", host_paths.PLUGIN_DIR),
        ("nomad_link", host_paths.NOMAD_LINK),
        ("unit", host_paths.UNIT_NAME),
        ("our_dir", host_paths.OUR_DIR),
    ],
)
def test_apply_has_the_same_paths(variable: str, path: str) -> None:
    """The script that changes hosts and the bundle agree on every place."""
    found = re.search(rf"^{variable}=(\S+)$", apply_script().decode(), re.MULTILINE)
    assert found is not None
    assert found[1] == path


def test_client_state_lies_where_apply_puts_the_token() -> None:
    """Below the data directory, under the name that Nomad reads."""
    script = apply_script().decode()
    state_dir = host_paths.STATE_DIR.removeprefix(host_paths.DATA_DIR)
    assert f"state_dir=$data_dir{state_dir}\n" in script
    assert (
        f"token_file=$state_dir{host_paths.INTRODUCTION_TOKEN.removeprefix(host_paths.STATE_DIR)}\n" in script
    )


@pytest.mark.parametrize(
    ("script", "path"),
    [
        (receive_script(), host_paths.OUR_DIR),
        (survey_script().decode(), host_paths.CONFIG_DIR),
        (survey_script().decode(), host_paths.OUR_DIR),
        (survey_script().decode(), host_paths.UNIT_NAME),
        (survey_script().decode(), host_paths.STAMP_KEY),
    ],
)
def test_other_scripts_look_in_the_same_places(script: str, path: str) -> None:
    """What takes the lock and what surveys know the places too."""
    assert path in script
