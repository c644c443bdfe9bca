"""Settings from the environment: directories, user, terminal. No other module reads the environment.

Must not know what is stored in the directories. Secrets in the environment stay in ``environ``, which only
``credentials.secrets`` reads and which no repr shows.
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from ionetctl.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

Color = Literal["auto", "always", "never"]

APP: Final = "ionetctl"
PRIVATE_DIR_MODE: Final = 0o700
_PASSED_ON: Final = ("LANG", "LC_", "PATH", "PYTHON", "TZ", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of this process. ``user`` and ``hostname`` are free of white space and control characters."""

    state_dir: Path
    cache_dir: Path
    home: Path
    user: str
    hostname: str
    is_ci: bool
    color: Color
    is_dumb_terminal: bool
    ssh_auth_sock: str | None
    environ: Mapping[str, str] = field(repr=False)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings from ``environ`` (``None``: this process's own). Accesses no file.

        Raises ``ConfigurationError`` (``setting_invalid``) for a variable with an invalid value.
        """
        variables = os.environ if environ is None else environ
        home = Path(variables.get("HOME") or Path.home())
        return cls(
            state_dir=_state_dir(variables, home),
            cache_dir=_cache_dir(variables, home),
            home=home,
            user=_printable(_user(variables)),
            hostname=_printable(socket.gethostname()),
            is_ci=_is_set(variables, "CI"),
            color=_color(variables),
            is_dumb_terminal=variables.get("TERM", "") in ("", "dumb"),
            ssh_auth_sock=variables.get("SSH_AUTH_SOCK") or None,
            environ=variables,
        )

    @property
    def owner(self) -> str:
        """Who runs this, for locks and leases: ``user@hostname``."""
        return f"{self.user}@{self.hostname}"

    @property
    def rollouts_dir(self) -> Path:
        """The directory of the journals."""
        return self.state_dir / "rollouts"

    @property
    def catalog_path(self) -> Path:
        """The catalog's file."""
        return self.state_dir / "catalog.sqlite"

    def prepare_state(self) -> Path:
        """The state directory, created where it is missing.

        Raises ``ConfigurationError`` (``state_unwritable``) where it cannot be created, entered or written to.
        """
        return private_directory(self.state_dir, "state_unwritable", "--state-dir or IONETCTL_STATE_DIR")

    def prepare_cache(self) -> Path:
        """The cache directory, created where it is missing.

        Raises ``ConfigurationError`` (``cache_unwritable``) where it cannot be created, entered or written to.
        """
        return private_directory(self.cache_dir, "cache_unwritable", "IONETCTL_CACHE_DIR")


def adopt_environment(environ: Mapping[str, str]) -> None:
    """Let the programs that this process starts have that environment; for a process that was started with hardly any."""
    os.environ.clear()
    os.environ.update(environ)


def private_directory(path: Path, code: str, setting: str) -> Path:
    """``path``, created with its parents where it is missing; mode 0700 where it belongs to this user.

    Raises ``ConfigurationError`` with ``code`` where it cannot be used; its hint names ``setting``, which chooses another directory.
    """
    try:
        path.mkdir(mode=PRIVATE_DIR_MODE, parents=True, exist_ok=True)
        if path.stat().st_uid == os.geteuid():
            path.chmod(PRIVATE_DIR_MODE)
    except OSError as error:
        raise _unwritable(path, code, setting, error.strerror or type(error).__name__) from error
    is_effective = os.access in os.supports_effective_ids
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=is_effective):
        raise _unwritable(path, code, setting, "no permission to write there")
    return path


def _unwritable(path: Path, code: str, setting: str, reason: str) -> ConfigurationError:
    message = f"cannot use the directory {path}: {reason}"
    return ConfigurationError(code, message, f"make it writable, or choose another with {setting}")


def _state_dir(environ: Mapping[str, str], home: Path) -> Path:
    fallback = home / ".local" / "state"
    return _own_dir(environ, "IONETCTL_STATE_DIR") or _base_dir(environ, "XDG_STATE_HOME", "state", fallback)


def _cache_dir(environ: Mapping[str, str], home: Path) -> Path:
    fallback = home / ".cache"
    return _own_dir(environ, "IONETCTL_CACHE_DIR") or _base_dir(environ, "XDG_CACHE_HOME", "cache", fallback)


def _own_dir(environ: Mapping[str, str], variable: str) -> Path | None:
    value = environ.get(variable)
    return Path(value).expanduser().absolute() if value else None


def _base_dir(environ: Mapping[str, str], variable: str, kind: str, fallback: Path) -> Path:
    """The platform's directory for ``kind``. By the XDG specification relative values are ignored.

    platformdirs reads the process's environment itself, so it is used only on macOS.
    """
    value = Path(environ.get(variable, ""))
    if value.is_absolute():
        return value / APP
    if sys.platform == "darwin":
        from platformdirs import user_cache_path, user_state_path

        return user_state_path(APP) if kind == "state" else user_cache_path(APP)
    return fallback / APP


def _user(environ: Mapping[str, str]) -> str:
    named = environ.get("SUDO_USER") or environ.get("LOGNAME") or environ.get("USER")
    if named:
        return named
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid{os.getuid()}"


def _color(environ: Mapping[str, str]) -> Color:
    """Whether to use colour: our own variable, then NO_COLOR and FORCE_COLOR (set and not empty)."""
    chosen = environ.get("IONETCTL_COLOR")
    if chosen:
        if chosen not in ("auto", "always", "never"):
            raise ConfigurationError(
                "setting_invalid",
                f"IONETCTL_COLOR is {_printable(chosen)!r}",
                "use auto, always or never",
            )
        return cast("Color", chosen)
    if environ.get("NO_COLOR"):
        return "never"
    return "always" if environ.get("FORCE_COLOR") else "auto"


def _is_set(environ: Mapping[str, str], variable: str) -> bool:
    return environ.get(variable, "").lower() not in ("", "0", "false", "no")


def _printable(text: str) -> str:
    """``text`` with ``?`` for white space and control characters, which would break tab-separated records."""
    return "".join(letter if letter.isprintable() and not letter.isspace() else "?" for letter in text) or "?"


def passed_on(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What processes of ours are started with of ``environ`` (``None``: this process's own): enough to run, nothing secret."""
    variables = os.environ if environ is None else environ
    return {name: value for name, value in variables.items() if name.startswith(_PASSED_ON)}
