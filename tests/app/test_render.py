"""``render``: every file that a host would get, without touching it, and nothing secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ionetctl.app.render import MASKED, MINTED, SURVEYED, render_host
from ionetctl.core import host_paths
from ionetctl.core.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

INVENTORY = """
version: 1
datacenter: rey1
{naming}
regions:
  eu-north:
    api: [https://nomad-1.eu-north.example:4646]
    servers: [nomad-1.eu-north.example:4647]
    token: {{env: TOKEN}}
    tls:
      ca: ca.pem
      issuer: {{cert: ca.pem, key: {{env: KEY}}}}
nomad: {{version: 2.0.5, device_plugin_version: 1.1.0}}
defaults: {{region: eu-north, node_pool: gpu}}
hosts:
  - {{name: "g[1-2]", address: "10.20.1.[1-2]", gpus: {{count: 8}}}}
  - {{name: login, address: 10.20.0.5, gpus: {{count: 0}}}}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An inventory with its CA."""
    (tmp_path / "ca.pem").write_bytes(b"CA PEM\n")
    path = tmp_path / "site.yaml"
    path.write_text(INVENTORY.format(naming=""))
    return path


def test_every_text_is_rendered(site: Path) -> None:
    """Programs and links are no text; everything else that the host gets is there, in order."""
    assert list(render_host(str(site), "g1")) == [
        host_paths.HOWTO,
        host_paths.DOCKER_CONFIG,
        host_paths.CLIENT_CONFIG,
        host_paths.NVIDIA_CONFIG,
        host_paths.CA_CERT,
        host_paths.NODE_KEY,
        host_paths.NODE_CERT,
        host_paths.UNIT,
        host_paths.START_SCRIPT,
    ]


def test_host_without_gpus_has_no_plugin(site: Path) -> None:
    """What a host would not get is not shown."""
    assert host_paths.NVIDIA_CONFIG not in render_host(str(site), "login")


def test_secrets_and_what_is_minted_are_placeholders(site: Path) -> None:
    """The key is masked, the certificate said to come later, the CA shown as it is."""
    files = render_host(str(site), "g1")
    assert (files[host_paths.NODE_KEY], files[host_paths.NODE_CERT], files[host_paths.CA_CERT]) == (
        MASKED.encode(),
        MINTED.encode(),
        b"CA PEM\n",
    )


def test_host_may_be_named_by_an_expression(site: Path) -> None:
    """An expression that names one host is as good as its name."""
    assert render_host(str(site), "g[1-2],!g2") == render_host(str(site), "g1")


def test_unique_name_shows_what_is_not_known_yet(site: Path) -> None:
    """The suffix comes from the survey, and is said to."""
    site.write_text(INVENTORY.format(naming="naming: unique"))
    assert f"g1-{SURVEYED}" in render_host(str(site), "g1")[host_paths.CLIENT_CONFIG].decode()


def test_several_hosts_are_too_many(site: Path) -> None:
    """One host at a time."""
    with pytest.raises(UsageError, match=r"names 2 hosts"):
        render_host(str(site), "g[1-2]")


def test_missing_ca_is_named(site: Path) -> None:
    """Without the region's CA there is no bundle; the path is told."""
    (site.parent / "ca.pem").unlink()
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        render_host(str(site), "g1")


OPEN = """
version: 1
datacenter: rey1
regions:
  eu-north: &region
    api: [https://nomad-1.example:4646]
    servers: [nomad-1.example:4647]
    token: {env: TOKEN}
    tls: {ca: ca.pem, issuer: {cert: ca.pem, key: {env: KEY}}}
  us-east: *region
nomad: {version: 2.0.5, device_plugin_version: 1.1.0}
defaults: {region: auto}
hosts:
  - {name: g1, address: 10.20.1.1}
  - {name: g2, address: 10.20.1.2, placement: {regions: [us-east]}}
"""


def test_region_that_is_open_has_to_be_named(site: Path) -> None:
    """What the survey will choose cannot be known; a host with one choice needs no name."""
    site.write_text(OPEN)
    with pytest.raises(UsageError, match="g1 may join eu-north, us-east") as refused:
        render_host(str(site), "g1")
    assert refused.value.code == "region_open"
    assert b'"us-east"' in render_host(str(site), "g1", "us-east")[host_paths.CLIENT_CONFIG]
    assert b'"us-east"' in render_host(str(site), "g2")[host_paths.CLIENT_CONFIG]
    with pytest.raises(UsageError, match="g2 may join us-east"):
        render_host(str(site), "g2", "eu-north")
