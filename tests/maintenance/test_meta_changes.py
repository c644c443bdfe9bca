"""Dynamic metadata: what is planned, what is refused, and what comes back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ionetctl.core.errors import HostUnreachableError, UsageError
from ionetctl.maintenance.meta_changes import SetMeta, UnsetMeta, checked_key, parse_pairs
from tests.maintenance.test_node_actions import Node
from tests.support.sample import view


def test_pairs_are_read() -> None:
    """A value may be empty, and have an equals sign."""
    assert parse_pairs(["site.row=7", "url=a=b", "empty="]) == {"site.row": "7", "url": "a=b", "empty": ""}


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("colour", "meta_pair_invalid"),
        ("colour=a\tb", "meta_pair_invalid"),
        ("colour=" + 257 * "a", "meta_pair_invalid"),
        ("1st=a", "meta_key_invalid"),
        ("a b=c", "meta_key_invalid"),
        ("=c", "meta_key_invalid"),
        ("ionet_rack=b", "meta_key_reserved"),
        ("unique.ionet_bundle=b", "meta_key_reserved"),
    ],
)
def test_other_words_are_refused(word: str, code: str) -> None:
    """Before any node is looked at."""
    with pytest.raises(UsageError) as caught:
        parse_pairs([word])
    assert caught.value.code == code


def test_key_alone_is_checked_likewise() -> None:
    """As ``meta unset`` takes it."""
    assert checked_key("colour") == "colour"
    with pytest.raises(UsageError):
        checked_key("ionet_admission")


async def test_plan_names_what_the_configuration_brings_back() -> None:
    """Of each key that has another value; one that is so already is none of them."""
    node = Node()
    node.region.static[node.view.id] = {"colour": "red"}
    node.region.meta[node.view.id] = {"row": "7"}
    assert await node.planned(SetMeta({"colour": "blue", "row": "7", "new": "x"})) == [
        (
            "annotate",
            "colour",
            "'blue' instead of 'red'; the configuration has 'red', which comes back when the client loses its state",
        ),
        ("annotate", "new", "'x'"),
    ]
    assert await node.planned(UnsetMeta(("row", "gone"))) == [("annotate", "row", "removed instead of '7'")]


async def test_metadata_is_set_and_removed() -> None:
    """The next plan is empty."""
    node = Node()
    wanted = SetMeta({"colour": "blue", "row": "7"})
    await node.carry_out(wanted)
    assert (node.meta, await node.planned(wanted)) == ({"colour": "blue", "row": "7"}, [])
    await node.carry_out(UnsetMeta(("colour",)))
    assert node.meta == {"row": "7"}


async def test_node_that_is_not_connected_is_unreachable() -> None:
    """Its metadata is its agent's own."""
    node = Node(replace(view(), status="down"))
    with pytest.raises(HostUnreachableError):
        await node.carry_out(SetMeta({"colour": "blue"}))
