"""OpenSSH configuration files, asked for one host after the other without being parsed for each of them.

asyncssh's own parser does the reading, a millisecond for a file of sixty lines. Hosts that match the same ``Host`` lines
get the same answer, so it reads once for each kind of host; only where the files look at more than the name (``Match``,
``Include``, tokens) does it read once a host.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from asyncssh import ConfigParseError
from asyncssh.config import SSHClientConfig
from asyncssh.pattern import WildcardPatternList

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.sanitize import harmless

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import PurePath

_PERSONAL: Final = re.compile(r"^\s*(match|include)\b|[%$\"]", re.IGNORECASE | re.MULTILINE)
_HOST_LINE: Final = re.compile(r"^\s*host(?:\s*=\s*|\s+)([^#\n]+)", re.IGNORECASE | re.MULTILINE)


class ConfigFiles:
    """The files of one rollout. They are read when the first host is looked up."""

    def __init__(self, paths: Sequence[PurePath], local_user: str) -> None:
        self._paths = [str(path) for path in paths]
        self._local_user = local_user
        self._patterns: list[WildcardPatternList] | None = None
        self._is_read = False
        self._answers: dict[Hashable, SSHClientConfig] = {}

    def look_up(self, address: str, user: str | None, port: int | None) -> SSHClientConfig:
        """The options that hold for a host, under the user and port that were decided already.

        Raises ``ConfigurationError`` (``ssh_config_invalid``) for files that cannot be read.
        """
        try:
            key = (self._kind(address), user, port)
            if key not in self._answers:
                self._answers[key] = self._load(address, user, port)
        except (ConfigParseError, OSError, ValueError) as error:
            raise ConfigurationError(
                "ssh_config_invalid",
                f"the SSH configuration cannot be used for {address}: {harmless(str(error), 300)}",
                "correct the file; `ssh -G HOST` reads it too",
            ) from error
        return self._answers[key]

    def _kind(self, address: str) -> Hashable:
        """What tells hosts apart: which ``Host`` lines they match, or their name where that is not enough."""
        if not self._is_read:
            self._patterns = _host_patterns(self._paths)
            self._is_read = True
        if self._patterns is None:
            return address
        return tuple(pattern.matches(address) for pattern in self._patterns)

    def _load(self, address: str, user: str | None, port: int | None) -> SSHClientConfig:
        options = (self._local_user, user or (), address, port or ())
        return cast("SSHClientConfig", SSHClientConfig.load(None, self._paths, False, False, False, *options))


def _host_patterns(paths: Sequence[str]) -> list[WildcardPatternList] | None:
    """The patterns of all ``Host`` lines, or ``None`` where the files ask for more than the host's name."""
    texts = [Path(path).read_text("utf-8", "replace") for path in paths]
    if any(_PERSONAL.search(text) for text in texts):
        return None
    return [
        WildcardPatternList(",".join(line.split())) for text in texts for line in _HOST_LINE.findall(text)
    ]
