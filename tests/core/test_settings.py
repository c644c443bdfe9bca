"""What the environment makes of the settings, and what becomes of directories."""

from __future__ import annotations

import os
import platform
import pwd
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.settings import Settings, passed_on, private_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

on_linux = pytest.mark.skipif(platform.system() != "Linux", reason="Linux keeps state below ~/.local/state")
as_user = pytest.mark.skipif(
    not hasattr(os, "seteuid") or os.getuid() != 0, reason="needs root to become another"
)

DIRECTORIES = [
    pytest.param({}, "home/.local/state/ionetctl", "home/.cache/ionetctl", id="platform"),
    pytest.param(
        {"XDG_STATE_HOME": "", "XDG_CACHE_HOME": "rel"},
        "home/.local/state/ionetctl",
        "home/.cache/ionetctl",
        id="xdg-invalid",
    ),
    pytest.param({"XDG_STATE_HOME": "{}/s", "XDG_CACHE_HOME": "{}/c"}, "s/ionetctl", "c/ionetctl", id="xdg"),
    pytest.param(
        {"XDG_STATE_HOME": "{}/s", "IONETCTL_STATE_DIR": "{}/mine"}, "mine", "home/.cache/ionetctl", id="own"
    ),
    pytest.param({"IONETCTL_CACHE_DIR": "{}/mine"}, "home/.local/state/ionetctl", "mine", id="own-cache"),
]


@on_linux
@pytest.mark.parametrize(("variables", "state", "cache"), DIRECTORIES)
def test_directories(tmp_path: Path, variables: Mapping[str, str], state: str, cache: str) -> None:
    """Our own variables come before XDG's, and those before the platform's custom."""
    environ = {name: value.format(tmp_path) for name, value in variables.items()}
    settings = Settings.load({"HOME": str(tmp_path / "home"), **environ})
    assert (tmp_path / state, tmp_path / cache) == (settings.state_dir, settings.cache_dir)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "auto"),
        ({"NO_COLOR": ""}, "auto"),
        ({"NO_COLOR": "1"}, "never"),
        ({"FORCE_COLOR": "1"}, "always"),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, "never"),
        ({"NO_COLOR": "1", "IONETCTL_COLOR": "always"}, "always"),
    ],
)
def test_color(variables: Mapping[str, str], expected: str) -> None:
    """Our own variable decides, then NO_COLOR, then FORCE_COLOR."""
    assert expected == Settings.load(variables).color


def test_color_unknown() -> None:
    """A colour that is none is an error that names the choices."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({"IONETCTL_COLOR": "mauve\x1b"})
    assert (caught.value.code, caught.value.message) == ("setting_invalid", "IONETCTL_COLOR is 'mauve?'")


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("1", True), ("", False), ("false", False), ("0", False)]
)
def test_ci(value: str, expected: bool) -> None:  # noqa: FBT001  a case's value
    """CI is on unless it says no."""
    assert expected is Settings.load({"CI": value}).is_ci


@pytest.mark.parametrize(("term", "expected"), [("dumb", True), ("", True), ("xterm-256color", False)])
def test_dumb_terminal(term: str, expected: bool) -> None:  # noqa: FBT001  a case's value
    """A terminal that says nothing of itself is taken for a dumb one."""
    assert expected is Settings.load({"TERM": term}).is_dumb_terminal


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"USER": "ada"}, "ada"),
        ({"USER": "root", "LOGNAME": "root", "SUDO_USER": "ada"}, "ada"),
        ({"USER": "a\tb\nc\x1b[31m d"}, "a?b?c?[31m?d"),
        ({}, pwd.getpwuid(os.getuid()).pw_name),
    ],
)
def test_user(variables: Mapping[str, str], expected: str) -> None:
    """The user is who called sudo, and fit for records of tab-separated fields."""
    settings = Settings.load(variables)
    assert (expected, f"{expected}@{settings.hostname}") == (settings.user, settings.owner)


def test_places_in_the_state_directory(tmp_path: Path) -> None:
    """Journals and catalog lie side by side."""
    settings = Settings.load({"IONETCTL_STATE_DIR": str(tmp_path)})
    assert (tmp_path / "rollouts", tmp_path / "catalog.sqlite") == (
        settings.rollouts_dir,
        settings.catalog_path,
    )


def test_repr_hides_the_environment() -> None:
    """The environment holds tokens, so it is handed on and never shown."""
    settings = Settings.load({"IONET_TOKEN": "s3cr3t-token", "USER": "ada"})
    assert (
        "s3cr3t" in repr(settings),
        "ada" in repr(settings),
        settings.environ["IONET_TOKEN"],
    ) == (False, True, "s3cr3t-token")


def test_own_environment() -> None:
    """Without a mapping the process's own environment is read."""
    assert os.environ == Settings.load().environ


def test_load_touches_nothing(tmp_path: Path) -> None:
    """Asking for help must not leave directories behind."""
    Settings.load({"HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_prepared_directories_are_private(tmp_path: Path) -> None:
    """What is prepared is 0700, even where it was there with other bits."""
    (tmp_path / "state").mkdir(mode=0o755)
    settings = Settings.load(
        {"IONETCTL_STATE_DIR": str(tmp_path / "state"), "IONETCTL_CACHE_DIR": str(tmp_path / "a/b")}
    )
    modes = [path.stat().st_mode & 0o777 for path in (settings.prepare_state(), settings.prepare_cache())]
    assert modes == [0o700, 0o700]


def test_state_below_a_file(tmp_path: Path) -> None:
    """A state directory that cannot be made is named, with the way to another."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({"IONETCTL_STATE_DIR": str(tmp_path / "file/state")}).prepare_state()
    assert (
        caught.value.code,
        str(tmp_path) in caught.value.message,
        "--state-dir" in caught.value.hint,
    ) == ("state_unwritable", True, True)


@as_user
def test_state_of_another() -> None:
    """A directory that belongs to another and that we may only read is no state directory."""
    with tempfile.TemporaryDirectory() as text:
        directory = Path(text)
        directory.chmod(0o755)
        os.seteuid(65534)
        try:
            with pytest.raises(ConfigurationError, match="no permission to write") as caught:
                private_directory(directory, "state_unwritable", "--state-dir")
        finally:
            os.seteuid(0)
    assert caught.value.code == "state_unwritable"


def test_what_is_passed_on() -> None:
    """A process of ours is started with what it needs to run, and without secrets."""
    environ = {"PATH": "/bin", "LC_ALL": "C", "PYTHONPATH": "x", "NOMAD_TOKEN": "s", "VAULT_TOKEN": "s"}
    assert passed_on(environ) == {"PATH": "/bin", "LC_ALL": "C", "PYTHONPATH": "x"}
