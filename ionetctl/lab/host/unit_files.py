"""Reads a service's unit file and drop-ins from a host's file tree, as systemd.unit(5) and systemd.service(5) say.

Reads files and changes none. Only the keys that the supervisor needs are interpreted.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.lab.host.rooted_path import locate

if TYPE_CHECKING:
    from pathlib import Path

UNIT_DIRECTORIES: Final = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A loaded service. ``fragment`` is its unit file's path on the host, ``exec_start`` the command it runs.

    ``text`` is the unit file with its drop-ins: two units are equal when nothing in them changed.
    """

    fragment: str
    exec_start: tuple[str, ...]
    wanted_by: tuple[str, ...]
    text: str

    @property
    def program(self) -> str:
        """What becomes the agent; the unit may start it by a script."""
        before, found, _ = " ".join(self.exec_start).partition(" agent ")
        return before.rpartition(" ")[2] if found else self.exec_start[0]

    @property
    def config_paths(self) -> tuple[str, ...]:
        """The values of every ``-config`` of the command."""
        arguments = self.exec_start
        after = [
            arguments[at + 1] for at, each in enumerate(arguments[:-1]) if each in ("-config", "--config")
        ]
        joined = [each.partition("=")[2] for each in arguments if each.startswith(("-config=", "--config="))]
        return tuple(after + joined)


def load_unit(tree: Path, name: str) -> Unit | None:
    """The unit as its files are now, drop-ins included; ``None`` without a unit file or without ``ExecStart``."""
    fragment = next(
        (
            f"{directory}/{name}"
            for directory in UNIT_DIRECTORIES
            if locate(tree, f"{directory}/{name}").is_file()
        ),
        None,
    )
    if fragment is None:
        return None
    text = "\n".join([locate(tree, fragment).read_text(errors="replace"), *_drop_ins(tree, name)])
    settings = _settings(text)
    commands = settings.get(("Service", "ExecStart"), [])
    if not commands:
        return None
    wanted_by = tuple(" ".join(settings.get(("Install", "WantedBy"), [])).split())
    return Unit(fragment, tuple(shlex.split(commands[-1].lstrip("-@:+!"))), wanted_by, text)


def _drop_ins(tree: Path, name: str) -> list[str]:
    folders = [locate(tree, f"{directory}/{name}.d") for directory in reversed(UNIT_DIRECTORIES)]
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.conf"))]
    return [path.read_text(errors="replace") for path in files]


def _settings(text: str) -> dict[tuple[str, str], list[str]]:
    """(Section, key) → values; an empty value discards earlier ones, as in systemd.unit(5)."""
    found: dict[tuple[str, str], list[str]] = {}
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1]
        elif "=" in stripped and stripped[0] not in "#;":
            key, _, value = stripped.partition("=")
            values = found.setdefault((section, key.strip()), [])
            if value.strip():
                values.append(value.strip())
            else:
                values.clear()
    return found
