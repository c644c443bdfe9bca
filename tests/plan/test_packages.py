"""Directories of packages: what is chosen from them, and what is refused before any host is touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.model.host import Prepare
from ionetctl.plan.packages import Package, check_packages, packages_for
from tests.support.sample import HOST


def lay(directory: Path, *names: str) -> None:
    """Write package files of one line each."""
    for name in names:
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("!<arch>\n")


def check(directory: Path) -> None:
    named = replace(HOST, prepare=Prepare(packages=str(directory)))
    check_packages([HOST, named, named])


def refusal(directory: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check(directory)
    assert caught.value.exit_code == 3
    return caught.value.code


def test_only_what_is_asked_for_comes_along(tmp_path: Path) -> None:
    """One folder a preparation; those that nobody asked for stay at home."""
    lay(tmp_path, "docker/docker.io_24_amd64.deb", "cni/plugins_1_amd64.deb", "driver/nvidia_550_amd64.deb")
    found = packages_for(str(tmp_path), ["cni", "docker"], "x86_64")
    assert found == (
        Package("cni", f"{tmp_path}/cni/plugins_1_amd64.deb", 8),
        Package("docker", f"{tmp_path}/docker/docker.io_24_amd64.deb", 8),
    )
    assert [package.member for package in found] == [
        "packages/cni/plugins_1_amd64.deb",
        "packages/docker/docker.io_24_amd64.deb",
    ]


def test_packages_of_another_architecture_stay_at_home(tmp_path: Path) -> None:
    """A directory may serve both; what is for all goes to all."""
    lay(tmp_path, *(f"docker/{name}.deb" for name in ("a_1_amd64", "b_1_arm64", "c_1_all", "d")))
    names = [Path(package.path).stem for package in packages_for(str(tmp_path), ["docker"], "aarch64")]
    assert names == ["b_1_arm64", "c_1_all", "d"]


def test_without_a_directory_nothing_comes_along() -> None:
    """The host's own package manager knows where to get what is needed."""
    assert packages_for(None, ["docker"], "x86_64") == ()


def test_a_directory_that_is_well_is_accepted(tmp_path: Path) -> None:
    """Notes, lists and hidden files lie beside packages."""
    lay(tmp_path, "docker/docker.io_24_amd64.deb", "docker/SHA256SUMS", "README", ".DS_Store")
    check(tmp_path)


def test_a_directory_without_packages_is_refused(tmp_path: Path) -> None:
    """Missing, a file, empty, or with folders of no preparation only."""
    empty = tmp_path / "empty"
    empty.mkdir()
    other = tmp_path / "other"
    other.mkdir()
    lay(other, "firewall/ufw_0.36_all.deb")
    (tmp_path / "file").write_text("")
    places = [tmp_path / "missing", tmp_path / "file", empty, other]
    assert [refusal(place) for place in places] == ["packages_missing"] * 4


def test_a_package_in_no_folder_is_refused(tmp_path: Path) -> None:
    """Nobody can tell which preparation needs it."""
    lay(tmp_path, "docker/docker.io_24_amd64.deb", "runc_1.1_amd64.deb")
    assert refusal(tmp_path) == "packages_invalid"


@pytest.mark.parametrize("name", ["-x.deb", "a b.deb", "x\n.deb", "Ü.deb"])
def test_a_file_of_an_odd_name_is_refused(tmp_path: Path, name: str) -> None:
    """It would be an option, or break a record, on the host."""
    lay(tmp_path, f"docker/{name}")
    assert refusal(tmp_path) == "packages_invalid"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """A download that was cut off, for one."""
    lay(tmp_path, "docker/docker.io_24_amd64.deb")
    (tmp_path / "docker/docker.io_24_amd64.deb").write_text("")
    assert refusal(tmp_path) == "packages_invalid"


def test_content_is_the_file_s(tmp_path: Path) -> None:
    """Mapped, not copied."""
    lay(tmp_path, "docker/docker.io_24_amd64.deb")
    (package,) = packages_for(str(tmp_path), ["docker"], "x86_64")
    assert bytes(package.content()) == b"!<arch>\n"


def test_a_file_that_changed_since_is_not_sent(tmp_path: Path) -> None:
    """The host knows the size beforehand."""
    lay(tmp_path, "docker/docker.io_24_amd64.deb")
    (package,) = packages_for(str(tmp_path), ["docker"], "x86_64")
    gone = replace(package, path=f"{tmp_path}/gone.deb")
    for changed in (replace(package, size_bytes=9), gone):
        with pytest.raises(ConfigurationError) as caught:
            changed.content()
        assert caught.value.code == "packages_changed"
