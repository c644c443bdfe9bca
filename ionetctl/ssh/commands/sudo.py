"""Running a command as root: the dialogue with sudo, without any I/O of its own.

Root's shell starts by printing a marker with a nonce. Output before the marker is sudo's: a lecture, the prompt. The
prompt carries another nonce and is answered once. Nothing else is sent before the marker has arrived, so that a payload
never reaches a password prompt and a password never a payload.

There are several sudos (sudo-rs among them), each with words of its own. Whether a password is needed, or was wrong, is
decided by the prompt: it came, or it came again. Words choose the hint, and spare a host that refuses in known words a
second try.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostFailedError
from ionetctl.ssh.commands.start_marker import StartMarker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NEEDS_PASSWORD: Final = "sudo_needs_password"  # noqa: S105  (an error code)
PASSWORD_WRONG: Final = "sudo_password_wrong"  # noqa: S105  (likewise)
REFUSED: Final = "sudo_refused"
_HINTS: Final = {
    NEEDS_PASSWORD: "set ssh: {become_password: …}, or allow NOPASSWD in its sudoers",
    PASSWORD_WRONG: "correct ssh: {become_password: …}; it is the login user's password",
}
_NO_RIGHT: Final = "allow this user in its sudoers, or log in as root (ssh: {become: root})"
_NOT_INSTALLED: Final = "install sudo there, or log in as root (ssh: {become: root})"
_UNEXPLAINED: Final = "run `sudo -n true` on the host by hand to see what it says"
_IN_ENGLISH: Final = 'LC_ALL=C; export LC_ALL; exec "$@"'
_NOT_RUN: Final = frozenset({126, 127})
"""What a shell ends with where there is no sudo, or none that may be run (POSIX)."""
_REASONS: Final = (
    (
        "must have a tty",
        REFUSED,
        "its sudoers has requiretty: remove it for this user (Defaults:USER !requiretty)",
    ),
    ("incorrect password", PASSWORD_WRONG, _HINTS[PASSWORD_WRONG]),
    ("incorrect authentication", PASSWORD_WRONG, _HINTS[PASSWORD_WRONG]),
    ("password is required", NEEDS_PASSWORD, _HINTS[NEEDS_PASSWORD]),
    ("authentication is required", NEEDS_PASSWORD, _HINTS[NEEDS_PASSWORD]),
    ("not in the sudoers", REFUSED, _NO_RIGHT),
    ("may not run sudo", REFUSED, _NO_RIGHT),
    ("afraid i can't do that", REFUSED, _NO_RIGHT),
    ("not allowed to execute", REFUSED, "its sudoers must allow ALL commands, sh among them"),
)


@dataclass(slots=True)
class SudoDialogue:
    """The dialogue for one command. Where it ``asks`` not, sudo must do without a password (``sudo -n``).

    ``password`` is called at most once; ``None`` where there is none, so that a prompt is an error.
    """

    asks: bool
    password: Callable[[], str] | None = None
    is_refused: bool = False
    _nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    _root: StartMarker = field(default_factory=StartMarker)
    _is_answered: bool = False

    def wrap(self, argv: Sequence[str]) -> tuple[str, ...]:
        """The command line that runs ``argv`` as root, after the marker of root's shell.

        With English messages, which the hints are chosen by; not by ``env``, since that of uutils takes sudo's ``-S``
        for its own.
        """
        options = ("-S", "-p", self._prompt) if self.asks else ("-n",)
        return ("sh", "-c", _IN_ENGLISH, "sh", "sudo", *options, "--", *self._root.wrap(argv))

    def take_stdout(self, data: bytes) -> bytes | None:
        """What follows the marker on standard output, or ``None`` before it has arrived."""
        return self._root.take_stdout(data)

    def take_stderr(self, data: bytes) -> bytes | None:
        """What follows the marker on standard error, or ``None`` before it has arrived.

        Raises ``HostFailedError``: ``sudo_needs_password`` for a prompt where there is no password, and
        ``sudo_password_wrong`` when the prompt is shown a second time.
        """
        rest = self._root.take_stderr(data)
        prompts = self._root.stderr.count(self._prompt.encode())
        if prompts > 0 and self.password is None:
            raise _refusal(NEEDS_PASSWORD, "asks for a password", _HINTS[NEEDS_PASSWORD])
        if prompts > 1:
            raise _refusal(PASSWORD_WRONG, "asks for the password again", _HINTS[PASSWORD_WRONG])
        return rest

    def take_reply(self) -> bytes | None:
        """What to write now: the password, once, when the prompt was shown; else ``None``."""
        if self.password is None or self._is_answered or self._prompt.encode() not in self._root.stderr:
            return None
        self._is_answered = True
        return self.password().encode() + b"\n"

    def refusal(self, exit_status: int) -> HostFailedError:
        """The error for a root shell that did not start: by the exit status, then by sudo's output."""
        self.is_refused = True
        said = f"says: {self._root.last_line()}"
        if exit_status in _NOT_RUN:
            return _refusal(REFUSED, said, _NOT_INSTALLED)
        output = self._root.stderr.decode("utf-8", "replace").lower()
        for phrase, code, hint in _REASONS:
            if phrase in output:
                return _refusal(code, said, hint)
        return _refusal(REFUSED, said, _UNEXPLAINED)

    @property
    def _prompt(self) -> str:
        return f"[ionetctl {self._nonce}]"


def no_answer(timeout_s: float) -> HostFailedError:
    """The error for a sudo that neither prompts, nor refuses, nor runs the command."""
    return _refusal(REFUSED, f"did not answer within {timeout_s:g} s", _UNEXPLAINED)


def _refusal(code: str, what: str, hint: str) -> HostFailedError:
    return HostFailedError(code, f"sudo {what}", hint)
