"""What ``make dist`` makes: the same bytes twice, nothing of the machine in them, and a whole bill of materials."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.release.build import ROOT, build
from tests.release.sbom import pinned, sbom
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MADE_AT = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    needs("git")
    return build(tmp_path_factory.mktemp("release"))


def digests(files: list[Path]) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def contents(files: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Every file of a release, those in archives too, with its name."""
    for file in files:
        if file.suffix == ".whl":
            with zipfile.ZipFile(file) as wheel:
                yield from ((f"{file.name}:{name}", wheel.read(name)) for name in wheel.namelist())
        elif file.suffix == ".gz":
            with tarfile.open(file) as sdist:
                for member in sdist.getmembers():
                    opened = sdist.extractfile(member)
                    yield f"{file.name}:{member.name}", opened.read() if opened else b""
        else:
            yield file.name, file.read_bytes()


def of_this_machine() -> set[bytes]:
    """The places and package indexes of this machine that nobody else should read of."""
    said = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    words = [line.partition("=")[2].strip("'\"") for line in said.splitlines()] + list(os.environ.values())
    indexes = {urlsplit(word).hostname or "" for word in words if word.endswith(("/simple", "/simple/"))}
    places = {str(ROOT), sys.prefix, sys.base_prefix} - {"/usr", "/"}
    return {name.encode() for name in (*places, *indexes) if name}


def with_words(files: list[Path], words: set[bytes]) -> list[str]:
    return [name for name, content in contents(files) if any(word in content for word in words)]


def test_second_run_makes_the_same(release: list[Path], tmp_path: Path) -> None:
    """Byte for byte, elsewhere and later."""
    assert digests(build(tmp_path / "elsewhere")) == digests(release)


def test_nothing_of_this_machine(release: list[Path], tmp_path: Path) -> None:
    """Neither its paths nor its package indexes are in any file; a file that has one would be found."""
    words = of_this_machine()
    (tmp_path / "control.json").write_bytes(b"see " + min(words))
    assert with_words([*release, tmp_path / "control.json"], words) == ["control.json"]


def test_wheel_has_what_is_read_at_run_time(release: list[Path]) -> None:
    """The vendor's key, the templates, the programs for hosts."""
    names = set(zipfile.ZipFile(release[0]).namelist())
    wanted = {"ionetctl/artifacts/hashicorp.asc", "ionetctl/remote/apply.sh", "ionetctl/py.typed"}
    assert wanted <= names
    assert any(name.startswith("ionetctl/templates/") for name in names)


def test_bill_of_materials(release: list[Path]) -> None:
    """Every package that is installed at run time, at the version that constraints.txt pins, and none for development."""
    bill: dict[str, Any] = json.loads(release[2].read_text())
    versions = pinned((ROOT / "constraints.txt").read_text())
    found = {each["name"]: each["version"] for each in bill["components"]}
    assert found == {name: versions[name] for name in found}
    assert {"asyncssh", "bcrypt", "pysequoia", "httpcore"} <= set(found)
    assert {"pytest", "ruff", "hatchling"} & set(found) == set()
    (wheel_digest,) = bill["metadata"]["component"]["hashes"]
    assert wheel_digest["content"] == digests(release)[release[0].name]
    refs = {each["bom-ref"] for each in (*bill["components"], bill["metadata"]["component"])}
    assert {each["ref"] for each in bill["dependencies"]} == refs


def requiring(wheel: Path, target: Path, *requirements: str) -> Path:
    """That wheel, with other requirements."""
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(target, "w") as other:
        for name in whole.namelist():
            text = whole.read(name)
            if name.endswith("/METADATA"):
                kept = [line for line in text.split(b"\n") if not line.startswith(b"Requires-Dist")]
                added = [f"Requires-Dist: {requirement}".encode() for requirement in requirements]
                text = b"\n".join([kept[0], *added, *kept[1:]])
            other.writestr(name, text)
    return target


def test_bill_of_materials_is_the_wheels(release: list[Path], tmp_path: Path) -> None:
    """Whatever this Python has installed as ionetctl: the wheel says what it requires."""
    wheel = requiring(release[0], tmp_path / release[0].name, "rich>=13", "keyring; extra == 'keyring'")
    bill = json.loads(sbom(wheel, (ROOT / "constraints.txt").read_text(), MADE_AT))
    assert {each["name"] for each in bill["components"]} == {"rich", "markdown-it-py", "mdurl", "pygments"}


@pytest.mark.parametrize("pins", ["rich==0.1", "typer==9"])
def test_no_bill_of_other_versions(release: list[Path], tmp_path: Path, pins: str) -> None:
    """What is installed here is not what the release is tried with: its requirements may be other ones."""
    wheel = requiring(release[0], tmp_path / release[0].name, "rich>=13")
    with pytest.raises(ValueError, match=r"constraints\.txt pins (0\.1|no version)"):
        sbom(wheel, pins, MADE_AT)
