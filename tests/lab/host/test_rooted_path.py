"""Paths of a host inside its tree: no link leads out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ionetctl.lab.host.rooted_path import TooManyLinksError, locate
from ionetctl.lab.host.unit_files import load_unit

if TYPE_CHECKING:
    from pathlib import Path

UNIT = "[Service]\nExecStart=/bin/old\nExecStart=\nExecStart=-/bin/new \\\n  agent -config /a --config=/b\n[Install]\nWantedBy=x.target\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "opt/releases").mkdir(parents=True)
    (tree / "bin").mkdir()
    (tree / "bin/absolute").symlink_to("/opt/releases/x")
    (tree / "bin/prefixed").symlink_to(tree / "opt/releases/x")
    (tree / "bin/relative").symlink_to("../opt/releases/x")
    (tree / "bin/escaping").symlink_to("../../../../../etc/passwd")
    (tree / "bin/circle").symlink_to("circle")
    (tree / "current").symlink_to("/opt/releases")
    return tree


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/opt/x", "opt/x"),
        ("/bin/absolute", "opt/releases/x"),
        ("/bin/prefixed", "opt/releases/x"),
        ("/bin/relative", "opt/releases/x"),
        ("/bin/escaping", "etc/passwd"),
        ("/current/y", "opt/releases/y"),
        ("/a/../../../b", "b"),
        ("/", ""),
    ],
)
def test_a_path_is_found_inside_the_tree(tree: Path, path: str, expected: str) -> None:
    """With absolute links, relative links, and links with too many ``..``."""
    assert locate(tree, path) == tree / expected


def test_a_path_that_has_the_trees_prefix_is_taken_as_it_is(tree: Path) -> None:
    """Scripts write links with such targets."""
    assert locate(tree, str(tree / "opt/x")) == tree / "opt/x"


def test_a_circle_of_links_is_an_error(tree: Path) -> None:
    """It does not loop for ever."""
    with pytest.raises(TooManyLinksError):
        locate(tree, "/bin/circle")


def test_a_unit_is_read_with_its_drop_ins(tree: Path) -> None:
    """An empty value discards earlier ones, drop-ins are read last, continued lines are joined."""
    folder = tree / "etc/systemd/system"
    (folder / "nomad.service.d").mkdir(parents=True)
    (folder / "nomad.service").write_text(UNIT)
    (folder / "nomad.service.d/10.conf").write_text("[Install]\nWantedBy=y.target\n# Service\n")
    unit = load_unit(tree, "nomad.service")
    assert unit is not None
    assert (unit.exec_start[0], unit.config_paths, unit.wanted_by) == (
        "/bin/new",
        ("/a", "/b"),
        ("x.target", "y.target"),
    )


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/bin/nomad agent -config /a", "/bin/nomad"),
        ("/bin/sh /x.sh /bin/nomad agent -dev", "/bin/nomad"),
        ("/bin/other", "/bin/other"),
    ],
)
def test_program_of_a_unit_stands_before_its_command(tree: Path, command: str, expected: str) -> None:
    """Whatever starts it."""
    (tree / "etc/systemd/system").mkdir(parents=True)
    (tree / "etc/systemd/system/nomad.service").write_text(f"[Service]\nExecStart={command}\n")
    unit = load_unit(tree, "nomad.service")
    assert unit is not None
    assert unit.program == expected


@pytest.mark.parametrize("text", [None, "[Service]\nType=simple\n"])
def test_without_a_command_there_is_no_unit(tree: Path, text: str | None) -> None:
    """Without a unit file, or without ``ExecStart`` in it."""
    if text is not None:
        (tree / "etc/systemd/system").mkdir(parents=True)
        (tree / "etc/systemd/system/nomad.service").write_text(text)
    assert load_unit(tree, "nomad.service") is None
