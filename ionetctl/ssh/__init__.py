"""SSH: the only package that imports asyncssh.

``SshConnector`` and ``SshSession`` are the ``Connector`` and ``Session`` of ``ports``; everything else in here is
theirs. Every failure leaves as one of ``errors``, with host text made harmless and no secret in it.
"""

from __future__ import annotations

from ionetctl.ssh.connector import SshConnector
from ionetctl.ssh.session import SshSession
from ionetctl.ssh.settings import TransportSettings

__all__ = ["SshConnector", "SshSession", "TransportSettings"]
