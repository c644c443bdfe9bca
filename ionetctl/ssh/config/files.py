"""OpenSSH configuration files: the options that hold for each host, without the files being parsed for each of them.

asyncssh's own parser reads them, a millisecond for a file of sixty lines. Hosts that match the same ``Host`` lines have
the same options, so the files are parsed once for each such group; only where they depend on more than the host's name
(``Match``, ``Include``, tokens) are they parsed for each host.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncssh import ConfigParseError

from ionetctl.core.errors import ConfigurationError
from ionetctl.core.sanitize import harmless
from ionetctl.ssh.asyncssh_internals import ClientOptions, host_line_matcher

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from pathlib import PurePath

_HOST_SPECIFIC: Final = re.compile(r"^\s*(match|include)\b|[%$\"]", re.IGNORECASE | re.MULTILINE)
_HOST_LINE: Final = re.compile(r"^\s*host(?:\s*=\s*|\s+)([^#\n]+)", re.IGNORECASE | re.MULTILINE)


class ConfigFiles:
    """The files of one rollout. They are read when the first host is looked up."""

    def __init__(self, paths: Sequence[PurePath], local_user: str) -> None:
        self._paths = [str(path) for path in paths]
        self._local_user = local_user
        self._matchers: list[Callable[[str], bool]] | None = None
        self._is_read = False
        self._options: dict[Hashable, ClientOptions] = {}

    def look_up(self, address: str, user: str | None, port: int | None) -> ClientOptions:
        """The options that hold for a host, under the user and port that the inventory names, where it does.

        Raises ``ConfigurationError`` (``ssh_config_invalid``) for files that cannot be read.
        """
        try:
            key = (self._group(address), user, port)
            if key not in self._options:
                self._options[key] = ClientOptions.load(self._paths, self._local_user, address, user, port)
        except (ConfigParseError, OSError, ValueError) as error:
            raise ConfigurationError(
                "ssh_config_invalid",
                f"the SSH configuration cannot be used for {address}: {harmless(str(error), 300)}",
                "correct the file; `ssh -G HOST` reads it too",
            ) from error
        return self._options[key]

    def _group(self, address: str) -> Hashable:
        """What hosts with the same options share: the ``Host`` lines that match, or the name where more counts."""
        if not self._is_read:
            self._matchers = _host_line_matchers(self._paths)
            self._is_read = True
        if self._matchers is None:
            return address
        return tuple(matches(address) for matches in self._matchers)


def _host_line_matchers(paths: Sequence[str]) -> list[Callable[[str], bool]] | None:
    """A matcher for each ``Host`` line, or ``None`` where the files depend on more than the host's name."""
    texts = [Path(path).read_text("utf-8", "replace") for path in paths]
    if any(_HOST_SPECIFIC.search(text) for text in texts):
        return None
    return [host_line_matcher(patterns) for text in texts for patterns in _HOST_LINE.findall(text)]
