"""The user's page on SSH knows every error that SSH can end with."""

from __future__ import annotations

import re
from pathlib import Path

import ionetctl.ssh

CODE = re.compile(r'"((?:[a-z]+_)+[a-z]+)"')
RAISES = re.compile(r"(?:Error|Fault|_refusal|kind)\(\s*(?:\w+,\s*)?" + CODE.pattern)
TABLE_ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "ssh.md"


def codes_in_source() -> set[str]:
    sources = Path(ionetctl.ssh.__file__).parent.rglob("*.py")
    texts = [path.read_text() for path in sources]
    return {code for text in texts for code in (*RAISES.findall(text), *re.findall(r'"(sudo_\w+)"', text))}


def test_every_code_has_its_line() -> None:
    """No code is missing from the table, and none in it is history."""
    documented = TABLE_ROW.findall(PAGE.read_text())
    assert sorted(documented) == sorted(codes_in_source())


def test_source_is_really_searched() -> None:
    """The search finds codes of all kinds."""
    assert {
        "connect_refused",
        "host_key_changed",
        "sudo_password_wrong",
        "passphrase_wrong",
    } <= codes_in_source()
