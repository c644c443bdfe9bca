"""A Nomad program for real hosts where no real one can be had: the rehearsal's agent as one executable file.

It is a zip application for the guest's Python: ``version``, ``config validate DIR``, ``agent -config DIR`` with systemd's
notification. What it registers with is the rehearsal's region.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final

import ionetctl.lab

_MAIN: Final = """\
import asyncio, os, signal, socket, sys
from pathlib import Path
from ionetctl.lab.agent.agent import Agent, AgentStartError
from ionetctl.lab.agent.config import validate_config

VERSION = "{version}"

def notify(text):
    place = os.environ.get("NOTIFY_SOCKET")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect("\\0" + place[1:] if place.startswith("@") else place)
            channel.send(text.encode())

async def agent(folder):
    one = Agent(Path("/"), "0.0.0.0", VERSION, lambda line: print(line, flush=True))
    one.start((folder,))
    task = asyncio.ensure_future(one.run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    notify("READY=1")
    await asyncio.gather(task, return_exceptions=True)
    # As Nomad does: a stop by a signal is a failure unless the agent is to leave then.
    text = "".join(path.read_text() for path in Path(folder).glob("*.hcl"))
    return 0 if "leave_on_interrupt = true" in text else 1

def main(argv):
    if argv[:1] == ["version"]:
        print("Nomad v" + VERSION)
        return 0
    if argv[:2] == ["config", "validate"]:
        code, lines = validate_config(Path("/"), argv[2], VERSION)
        print("\\n".join(lines))
        return code
    try:
        return asyncio.run(agent(argv[argv.index("-config") + 1]))
    except AgentStartError as error:
        print(error, file=sys.stderr)
        return 1

sys.exit(main(sys.argv[1:]))
"""


def build(version: str, path: Path) -> Path:
    """Write the program to ``path``; it reports ``version``."""
    package = Path(ionetctl.lab.__file__).parent
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("__main__.py", _MAIN.replace("{version}", version))
        members.writestr("ionetctl/__init__.py", "")
        for module in sorted(package.rglob("*.py")):
            members.write(module, f"ionetctl/lab/{module.relative_to(package)}")
    path.write_bytes(b"#!/usr/bin/python3\n" + archive.getvalue())
    path.chmod(0o755)
    return path
