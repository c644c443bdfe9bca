"""Signs words for the maintenance door, by OpenSSH's own ``ssh-keygen -Y sign``: with a key file or an agent's key.

The private key stays where it is: ssh-keygen reads the file, or asks the agent (``SSH_AUTH_SOCK``) or a security key. It is
never an argument, in the environment, or in this process.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.sanitize import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE_S: Final = 120.0
"""Somebody may have to touch a security key, or to type a passphrase."""
PASSED_ON: Final = frozenset(
    {
        *("PATH", "HOME", "SSH_AUTH_SOCK", "SSH_SK_PROVIDER", "SSH_SK_HELPER"),
        *("SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY"),
        *("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"),
    }
)
"""The variables that ssh-keygen is started with: its agent, security keys, and what may ask for a passphrase. Tokens are in others."""
_SAID_CHARACTERS: Final = 300
_HINT: Final = "name a private key file, or a public one whose private key an agent has; it must be one of maintenance: signers"


async def sign(
    text: bytes, key: str, purpose: str, environ: Mapping[str, str], patience_s: float = PATIENCE_S
) -> bytes:
    """The signature over ``text`` in OpenSSH's armour (SSHSIG), for that purpose only.

    ``key`` is a private key file, or a public one for the agent's; of ``environ`` ssh-keygen gets ``PASSED_ON``. Raises ``ConfigurationError`` (``signing_failed``).
    """
    argv = ("ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", purpose)
    passed_on = {name: value for name, value in environ.items() if name in PASSED_ON}
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=passed_on
        )
    except OSError as error:
        raise _failed(f"ssh-keygen cannot be started: {error.strerror}") from None
    try:
        async with asyncio.timeout(patience_s):
            signature, said = await process.communicate(text)
    except TimeoutError:
        raise _failed(f"ssh-keygen did not end within {patience_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        why = harmless(said.decode(errors="replace").strip()[-_SAID_CHARACTERS:])
        raise _failed(f"ssh-keygen ended with {process.returncode}: {why}")
    return signature


def _failed(message: str) -> ConfigurationError:
    return ConfigurationError("signing_failed", message, _HINT)
