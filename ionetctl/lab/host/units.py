"""Unit files as systemd reads them, as far as one service needs it: sections, keys, drop-ins. Pure, but for reading."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.lab.host.rooted_path import locate

if TYPE_CHECKING:
    from pathlib import Path

SEARCH_PATH: Final = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A loaded service. ``fragment`` is the file's path on the host, ``exec_start`` what it runs."""

    fragment: str
    exec_start: tuple[str, ...]
    wanted_by: tuple[str, ...]
    text: str

    @property
    def config_places(self) -> tuple[str, ...]:
        """The values of every ``-config`` of the command."""
        words = self.exec_start
        after = [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("-config", "--config")]
        joined = [word.partition("=")[2] for word in words if word.startswith(("-config=", "--config="))]
        return tuple(after + joined)


def load_unit(tree: Path, name: str) -> Unit | None:
    """The unit as it lies on the host now, drop-ins included; ``None`` where there is none or nothing to start."""
    fragment = next(
        (f"{place}/{name}" for place in SEARCH_PATH if locate(tree, f"{place}/{name}").is_file()), None
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
    folders = [locate(tree, f"{place}/{name}.d") for place in reversed(SEARCH_PATH)]
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.conf"))]
    return [path.read_text(errors="replace") for path in files]


def _settings(text: str) -> dict[tuple[str, str], list[str]]:
    """Section and key → values; an empty value forgets what was said before, as in systemd."""
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
