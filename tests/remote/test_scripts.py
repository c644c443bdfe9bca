"""The scripts as texts: linted, small where they must be, with the places that ``host_paths`` has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ionetctl.remote
from ionetctl.core import host_paths
from ionetctl.remote import (
    apply_script,
    maintenance_script,
    obtain_script,
    prepare_script,
    receive_script,
    survey_source,
)
from tests.support.survey_alone import survey_script

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPTS = sorted(Path(ionetctl.remote.__file__).parent.glob("*.sh"))
TEMPLATES = sorted((Path(__file__).parents[2] / "templates").glob("*.sh.j2"))
SHELLCHECK = Path(sys.executable).parent / "shellcheck"
JOINED: dict[str, Callable[[], bytes]] = {
    "survey": survey_source,
    "apply": apply_script,
    "prepare": prepare_script,
    "obtain": obtain_script,
    "maintenance": maintenance_script,
}
"""Scripts that are joined of parts when they are sent."""
ARGUMENT_LIMIT_BYTES = 3584
"""It is one argument of a command line that sudo may log."""


def assignments(script: str) -> dict[str, str]:
    """The constants at a script's top level, one naming another resolved."""
    found: dict[str, str] = {}
    for name, value in re.findall(r"^([a-z_]+)=(\S*)$", script, re.MULTILINE):
        found[name] = re.sub(r"\$([a-z_]+)", lambda match: found.get(match[1], ""), value)
    return found


@pytest.mark.parametrize("path", [*SCRIPTS, *TEMPLATES], ids=lambda path: path.name)
def test_shellcheck_is_content(path: Path) -> None:
    """Every script passes shellcheck as POSIX sh."""
    run = subprocess.run((SHELLCHECK, "-s", "sh", path), capture_output=True, check=False)
    assert (run.returncode, run.stdout.decode()) == (0, "")


@pytest.mark.parametrize("name", [name for name in JOINED if name != "maintenance"])
def test_shellcheck_is_content_with_what_is_sent(name: str) -> None:
    """No part uses a variable that no other sets, or sets one that none uses.

    The maintenance door's has functions of the apply in it that it never calls.
    """
    text = re.sub(rb"SC2034|SC2154", b"SC2329", JOINED[name]())
    run = subprocess.run(
        (SHELLCHECK, "-s", "sh", "-e", "SC2329", "-"), input=text, capture_output=True, check=False
    )
    assert (run.returncode, run.stdout.decode()) == (0, "")


def test_no_url_is_in_a_here_document() -> None:
    """Bash before 5.1 writes here-documents to /tmp; one would be found."""
    here_document = re.compile(rb"<<-?[A-Z]+$", re.MULTILINE)
    found = {name for name, script in JOINED.items() if here_document.search(script())}
    assert "obtain" not in found
    assert here_document.search(b"curl -K - <<END\n")


@pytest.mark.parametrize("name", JOINED)
def test_all_parts_are_sent(name: str) -> None:
    """Each part of a script that lies in the package is in it once, and what calls them comes last."""
    texts = {path.stem: path.read_bytes() for path in SCRIPTS if path.stem.partition("_")[0] == name}
    sent = JOINED[name]()
    assert [stem for stem, text in texts.items() if sent.count(text) != 1] == []
    assert sent.endswith(b"\n" + texts[name])


def test_the_first_script_is_small() -> None:
    """What travels as an argument stays small."""
    assert len(receive_script()) < ARGUMENT_LIMIT_BYTES


def test_apply_agrees_with_the_layout() -> None:
    """The apply's places are those of ``host_paths``."""
    found = assignments(apply_script().decode())
    expected = {
        "config_dir": host_paths.CONFIG_DIR,
        "tls_dir": host_paths.TLS_DIR,
        "data_dir": host_paths.DATA_DIR,
        "state_dir": host_paths.STATE_DIR,
        "token_file": host_paths.INTRODUCTION_TOKEN,
        "releases_dir": host_paths.RELEASES_DIR,
        "plugin_dir": host_paths.PLUGIN_DIR,
        "nomad_link": host_paths.NOMAD_LINK,
        "unit": host_paths.UNIT_NAME,
        "unit_dir": str(Path(host_paths.UNIT).parent),
        "our_dir": host_paths.OUR_DIR,
    }
    assert {name: found[name] for name in expected} == expected


def test_survey_agrees_with_the_layout() -> None:
    """The survey's places are those of ``host_paths``."""
    text = survey_script().decode()
    found = assignments(text)
    places = {
        "config_dir": host_paths.CONFIG_DIR,
        "data_dir": host_paths.DATA_DIR,
        "our_dir": host_paths.OUR_DIR,
    }
    assert {name: found[name] for name in places} == places
    assert found["unit"] == host_paths.UNIT_NAME
    for name, path in (
        ("data_dir", host_paths.CLIENT_ID),
        ("data_dir", host_paths.INTRODUCTION_TOKEN),
        ("config_dir", host_paths.NODE_CERT),
        ("config_dir", host_paths.CLIENT_CONFIG),
        ("our_dir", host_paths.MANIFEST),
    ):
        assert f"${name}{path.removeprefix(places[name])}" in text
    assert host_paths.NOMAD_LINK in text
    assert host_paths.STAMP_KEY in text


def test_the_first_script_agrees_with_the_layout() -> None:
    """The lock and the staging lie below our own directory."""
    found = assignments(receive_script())
    root = "${IONET_ROOT:-}"
    assert (found["our"], found["kept"]) == (root + host_paths.OUR_DIR, root + host_paths.ARTIFACTS_DIR)


def test_maintenance_agrees_with_the_layout() -> None:
    """The door's places are those of ``host_paths``."""
    found = assignments(maintenance_script().decode())
    expected = {
        "config": host_paths.CLIENT_CONFIG,
        "certificate": host_paths.NODE_CERT,
        "state_dir": host_paths.STATE_DIR,
        "signers": host_paths.ALLOWED_SIGNERS,
        "our_dir": host_paths.OUR_DIR,
        "drop_dir": host_paths.DROP_DIR,
        "answers_dir": host_paths.ANSWERS_DIR,
        "unit": host_paths.UNIT_NAME,
    }
    assert {name: found[name] for name in expected} == expected
