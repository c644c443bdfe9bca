"""Introduction tokens: how a region checks them, in the cases that were observed at a region of Nomad 2.0.5."""

from __future__ import annotations

import pytest

from ionetctl.lab.region.state.introduction import (
    LEEWAY_S,
    MAX_TTL_S,
    Enforcement,
    TokenVerdict,
    duration_s,
    is_allowed,
    new_signer,
)

NOW = 1_795_400_000.0
HOME = new_signer("eu-north")
AWAY = new_signer("us-west")


@pytest.mark.parametrize(
    ("verdict", "none", "warn", "strict"),
    [
        (TokenVerdict.NOTHING, True, True, False),
        (TokenVerdict.VALID, True, True, True),
        (TokenVerdict.EXPIRED, True, False, False),
        (TokenVerdict.OTHER_NODE, True, False, False),
        (TokenVerdict.FOREIGN, False, False, False),
    ],
)
def test_the_table_of_enforcement(verdict: TokenVerdict, *, none: bool, warn: bool, strict: bool) -> None:
    """Every verdict under every enforcement, as documented and observed."""
    found = [is_allowed(verdict, each) for each in _enforcements()]
    assert found == [none, warn, strict]


def _enforcements() -> tuple[Enforcement, ...]:
    return ("none", "warn", "strict")


@pytest.mark.parametrize(
    ("jwt", "expected"),
    [
        ("", TokenVerdict.NOTHING),
        (" \n", TokenVerdict.NOTHING),
        (HOME.mint_introduction("a", "gpu", 60, NOW), TokenVerdict.VALID),
        (f"\n{HOME.mint_introduction('a', 'gpu', 60, NOW)}\n", TokenVerdict.VALID),
        (HOME.mint_introduction("a", "gpu", 60, NOW - 60 - LEEWAY_S), TokenVerdict.VALID),
        (HOME.mint_introduction("a", "gpu", 60, NOW - 61 - LEEWAY_S), TokenVerdict.EXPIRED),
        (HOME.mint_introduction("b", "gpu", 60, NOW), TokenVerdict.OTHER_NODE),
        (HOME.mint_introduction("a", "cpu", 60, NOW), TokenVerdict.OTHER_NODE),
        (AWAY.mint_introduction("a", "gpu", 60, NOW), TokenVerdict.FOREIGN),
        (HOME.mint_identity("a", "gpu", NOW), TokenVerdict.FOREIGN),
        ("garbage", TokenVerdict.FOREIGN),
        ("a.b.c", TokenVerdict.FOREIGN),
        (HOME.mint_introduction("a", "gpu", 60, NOW)[:-4] + "AAAA", TokenVerdict.FOREIGN),
    ],
)
def test_check_of_a_token(jwt: str, expected: TokenVerdict) -> None:
    """Name, pool, time with a minute's leeway, and signature decide."""
    assert HOME.check_introduction(jwt, "a", "gpu", NOW) == expected


def test_a_ttl_above_the_maximum_is_clamped_silently() -> None:
    """A requested TTL of days becomes half an hour; only the token itself shows it."""
    claims = HOME.claims(HOME.mint_introduction("a", "gpu", 99 * 3600, NOW))
    assert claims is not None
    assert claims["exp"] - claims["iat"] == MAX_TTL_S


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2m", 120.0),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        ("-1m", -60.0),
        ("0", 0.0),
        (60, 6e-8),
        (60_000_000_000, 60.0),
    ],
)
def test_durations_are_gos(value: object, seconds: float) -> None:
    """Text has units; a number is nanoseconds."""
    assert duration_s(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["bogus", "5", "", "1d", "m", True, None])
def test_an_invalid_duration_is_refused(value: object) -> None:
    """With the error of Go."""
    with pytest.raises(ValueError, match="time: invalid duration"):
        duration_s(value)


def test_an_identity_belongs_to_one_node_for_a_day() -> None:
    """Another node's, another region's and an expired identity are refused."""
    mine = HOME.mint_identity("n1", "gpu", NOW)
    found = [
        HOME.is_identity_of(mine, "n1", NOW),
        HOME.is_identity_of(mine, "n2", NOW),
        AWAY.is_identity_of(mine, "n1", NOW),
        HOME.is_identity_of(mine, "n1", NOW + 90_000),
    ]
    assert found == [True, False, False, False]


def test_a_signers_key_is_not_in_its_repr() -> None:
    """The text has the region's name, and no key."""
    assert "key=" not in repr(HOME).replace("_key=", "key=").replace("key_id=", "")
