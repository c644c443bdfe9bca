"""SSH: the only package that imports asyncssh.

``SshConnector`` and ``SshSession`` implement ``Connector`` and ``Session`` of ``ports``. Every exception that leaves this
package is one of ``errors``; text from hosts is sanitized in it, and it holds no secret.
"""

from __future__ import annotations

from ionetctl.ssh.commands.session import SshSession
from ionetctl.ssh.connector import SshConnector
from ionetctl.ssh.settings import TransportSettings

__all__ = ["SshConnector", "SshSession", "TransportSettings"]
