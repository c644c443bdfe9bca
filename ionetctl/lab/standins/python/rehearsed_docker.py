"""Stands for docker on a rehearsal host: ``info``, ``version`` and ``ps`` with ``--format``, from ``docker.json``.

Of Go's templates it knows what can be done by replacing: fields, and ``range`` over the runtimes.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

Document = dict[str, Any]

FIELDS: Final = {
    "CgroupDriver": "cgroup_driver",
    "CgroupVersion": "cgroup_version",
    "DefaultRuntime": "default_runtime",
    "DockerRootDir": "root_dir",
    "Server.Version": "version",
    "ServerVersion": "version",
}
NO_DAEMON: Final = (
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
)
_RANGE: Final = re.compile(r"\{\{ ?range [^}]*\.Runtimes ?\}\}\{\{[^}]*\}\}(.*?)\{\{ ?end ?\}\}")
_FIELD: Final = re.compile(r"\{\{ ?\.([A-Za-z.]+) ?\}\}")


def main(arguments: list[str]) -> int:
    """Print what is asked for; returns the exit status."""
    path = Path(os.environ["IONET_ROOT"], "run/lab/docker.json")
    daemon: Document = json.loads(path.read_text()) if path.is_file() else {"version": None}
    if daemon["version"] is None:
        print(NO_DAEMON, file=sys.stderr)
        return 1
    for line in _lines(daemon, arguments[0] if arguments else "", _format_of(arguments)):
        print(line)
    return 0


def _lines(daemon: Document, verb: str, template: str) -> list[str]:
    if verb == "ps":
        return [_container(name, template or "{{.Names}}") for name in daemon["containers"]]
    if verb in ("info", "version"):
        return [_filled(daemon, template or "Server Version: {{.ServerVersion}}")]
    return []


def _container(name: str, template: str) -> str:
    fields = {"ID": name, "Image": name, "Names": name}
    return _FIELD.sub(lambda match: fields.get(match[1], ""), template)


def _format_of(arguments: list[str]) -> str:
    for place, argument in enumerate(arguments):
        if argument in ("--format", "-f"):
            return "".join(arguments[place + 1 : place + 2])
        if argument.startswith("--format="):
            return argument.partition("=")[2]
    return ""


def _filled(daemon: Document, template: str) -> str:
    ranged = _RANGE.sub(
        lambda match: "".join(match[1] and f"{name} " for name in daemon["runtimes"]), template
    )
    return _FIELD.sub(lambda match: str(daemon.get(FIELDS.get(match[1], ""), "")), ranged)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
