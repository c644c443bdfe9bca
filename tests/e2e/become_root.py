"""Run beside the hosts, as a program: two commands as root on one of them by the product's own session, and how they ended.

It reads a ``Login`` as JSON from standard input, and prints what ``become_root`` returns.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostError
from ionetctl.core.ports import Command
from ionetctl.ssh import SshConnector, TransportSettings
from tests.ssh.servers import PASSWORD, make_host

if TYPE_CHECKING:
    from tests.e2e.machines import Fleet

TIMEOUT_S: Final = 120.0
PAYLOAD: Final = b"payload\nof two lines\n"
WHO: Final = Command(("sh", "-c", "id -u; cat; echo noise >&2"), timeout_s=60, idle_s=60)


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in where, and what answers sudo; ``None`` where nothing does."""

    address: str
    host_key: str
    identity: str
    user: str
    password: str | None
    sudo_timeout_s: float


@dataclass(frozen=True, slots=True)
class Ending:
    """What the commands printed, or the error that ended them."""

    outputs: tuple[str, ...] = ()
    code: str = ""
    exit_code: int = 0
    message: str = ""
    hint: str = ""


def become_root(fleet: Fleet, login: Login) -> Ending:
    """How it ends from the namespace where the hosts can be reached."""
    argv = fleet.controller_argv([sys.executable, "-m", __name__])
    done = subprocess.run(
        argv,
        input=json.dumps(asdict(login)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
        env=dict(os.environ),
    )
    found = json.loads(done.stdout)
    return Ending(**{**found, "outputs": tuple(found["outputs"])})


async def _run(login: Login) -> Ending:
    host = make_host(
        login.address,
        user=login.user,
        identities=(login.identity,),
        agent=False,
        host_keys=(login.host_key,),
        become_password=None if login.password is None else PASSWORD,
    )
    settings = TransportSettings(known_hosts=(), system_known_hosts=(), sudo_timeout_s=login.sudo_timeout_s)
    try:
        async with (
            SshConnector(settings, lambda _: str(login.password)) as ways,
            ways.connect(host) as session,
        ):
            ended = [await session.run(WHO, stdin=PAYLOAD) for _ in range(2)]
    except HostError as error:
        return Ending((), error.code, error.exit_code, error.message, error.hint or "")
    return Ending(tuple((each.stdout + each.stderr).decode() for each in ended))


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(_run(Login(**json.load(sys.stdin)))))))  # noqa: T201  (it is a program)
