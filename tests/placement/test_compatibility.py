"""Whether a region's servers can take the inventory's nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.inventory import Introduction, ReadyPair, RegionSettings, RegionTls
from ionetctl.core.model.names import RegionName
from ionetctl.core.model.node import RegionStatus
from ionetctl.core.model.secret import SecretRef
from ionetctl.placement.compatibility import check_region, uses_introduction

STATUS = RegionStatus(RegionName("eu-north"), "2.0.5", "strict", frozenset({"all", "default", "gpu"}))


def settings(introduction: Introduction = "auto") -> RegionSettings:
    ref = SecretRef("env", "X")
    tls = RegionTls("ca.pem", "server.eu-north.nomad", None, ReadyPair("cert.pem", ref))
    return RegionSettings(RegionName("eu-north"), ("https://a",), ("a:4647",), ref, tls, introduction)


@pytest.mark.parametrize("client", ["2.0.5", "2.0.4", "1.11.0", "2.0.5-rc.1"])
def test_region_that_fits_is_taken(client: str) -> None:
    """Clients may be as old as they like, and no newer."""
    check_region(STATUS, settings(), client, ["gpu", "default"])


@pytest.mark.parametrize(
    ("client", "server"),
    [
        ("2.0.6", "2.0.5"),
        ("2.1.0-beta.1", "2.0.5"),
        ("2.0.5", "2.0.5-rc.1"),
        ("2.0.5", "1.11.3+ent"),
        ("10.0.0", "9.9.9"),
    ],
)
def test_client_newer_than_its_servers_is_refused(client: str, server: str) -> None:
    """Numbers are compared as numbers; a pre-release comes before its release."""
    with pytest.raises(ConfigurationError) as caught:
        check_region(replace(STATUS, server_version=server), settings(), client, [])
    assert (caught.value.code, server in caught.value.hint) == ("client_newer_than_servers", True)


@pytest.mark.parametrize(
    ("pool", "said"), [("gpus", "did you mean gpu? Otherwise create it"), ("rigs", "Create it")]
)
def test_missing_node_pool_is_refused(pool: str, said: str) -> None:
    """With the nearest that there is."""
    with pytest.raises(ConfigurationError) as caught:
        check_region(STATUS, settings(), "2.0.5", ["gpu", pool])
    assert (caught.value.code, caught.value.hint.startswith(said)) == ("node_pool_missing", True)


@pytest.mark.parametrize("server", ["1.10.5", "1.6.5", "1.11.0-beta.1"])
def test_required_introduction_needs_a_region_that_has_it(server: str) -> None:
    """It came with 1.11.0."""
    with pytest.raises(ConfigurationError) as caught:
        check_region(replace(STATUS, server_version=server), settings("required"), "1.6.5", [])
    assert caught.value.code == "introduction_unsupported"


def test_required_introduction_is_fine_where_there_is_one() -> None:
    """Whatever its enforcement."""
    check_region(replace(STATUS, server_version="1.11.0"), settings("required"), "1.11.0", [])


@pytest.mark.parametrize(
    ("mode", "enforcement", "server", "expected"),
    [
        ("auto", "strict", "2.0.5", True),
        ("auto", "warn", "2.0.5", True),
        ("auto", "none", "2.0.5", False),
        ("auto", None, "2.0.5", True),
        ("auto", None, "1.10.5", False),
        ("off", "strict", "2.0.5", False),
        ("required", "none", "2.0.5", True),
    ],
)
def test_nodes_are_introduced_where_it_helps(
    mode: Introduction,
    enforcement: str | None,
    server: str,
    expected: bool,  # noqa: FBT001  (a case's column)
) -> None:
    """``auto`` looks at version and setting; where it may not look, it tries."""
    status = replace(STATUS, enforcement=enforcement, server_version=server)
    assert uses_introduction(status, settings(mode)) is expected
