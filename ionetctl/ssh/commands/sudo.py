"""Running a command as root: the dialogue with sudo, without any I/O of its own.

Root's shell starts by printing a marker with a nonce. Output before the marker is sudo's: a lecture, the prompt. The
prompt carries another nonce and is answered once, before the marker. Nothing else is sent before the marker has arrived,
so that a payload never reaches a password prompt and a password never a payload.

There are several sudos (sudo-rs among them), each with words of its own. Whether a password is needed, or was wrong, is
decided by the prompt: it came, or it came again. Words choose the hint, and spare a host that refuses in known words a
second try. What is quoted of them holds neither password nor prompt.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostFailedError
from ionetctl.ssh.commands.start_marker import NOTHING, StartMarker, last_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NEEDS_PASSWORD: Final = "sudo_needs_password"  # noqa: S105  (an error code)
PASSWORD_WRONG: Final = "sudo_password_wrong"  # noqa: S105  (likewise)
REFUSED: Final = "sudo_refused"
_HINTS: Final = {
    NEEDS_PASSWORD: "set ssh: {become_password: …}, or allow `USER ALL=(ALL) NOPASSWD: ALL` in its sudoers",
    PASSWORD_WRONG: "correct ssh: {become_password: …}: the login user's, or root's where sudoers has rootpw or targetpw",
}
_NO_RIGHT: Final = "allow this user in its sudoers, or log in as root (ssh: {become: root})"
_NOT_INSTALLED: Final = "install sudo there, or log in as root (ssh: {become: root})"
_UNEXPLAINED: Final = "run `sudo -n true` on the host by hand to see what it says"
_OTHER_PROMPT: Final = "it shows no prompt of ionetctl's: Defaults:USER passprompt_override in its sudoers; a second factor cannot be given"
_EXPIRED: Final = "set a new password there, or renew the account (chage -l USER shows both)"
_NOEXEC: Final = "its sudoers has noexec, so that root's shell starts nothing: Defaults:USER !noexec"
_FORBIDDEN: Final = "correct ssh: {become_password: …}, or see in the host's journal what PAM forbids"
_ONE_LINE: Final = "sudo reads one line: take the line breaks out of ssh: {become_password: …}"
_MASK: Final = b"***"
_IN_ENGLISH: Final = 'LC_ALL=C; export LC_ALL; exec "$@"'
CANNOT_EXECUTE: Final = 126
_NOT_RUN: Final = frozenset({CANNOT_EXECUTE, 127})
"""What a shell ends with where there is no sudo, or none that may be run (POSIX)."""
_REASONS: Final = (
    # First: sudo says afterwards that a password is required, too.
    ("password is expired", REFUSED, _EXPIRED),
    ("password expired", REFUSED, _EXPIRED),
    ("account expired", REFUSED, _EXPIRED),
    ("account has expired", REFUSED, _EXPIRED),
    (
        "must have a tty",
        REFUSED,
        "its sudoers has requiretty: remove it for this user (Defaults:USER !requiretty)",
    ),
    ("incorrect password", PASSWORD_WRONG, _HINTS[PASSWORD_WRONG]),
    ("incorrect authentication", PASSWORD_WRONG, _HINTS[PASSWORD_WRONG]),
    ("pam error: permission denied", PASSWORD_WRONG, _FORBIDDEN),
    ("password is required", NEEDS_PASSWORD, _HINTS[NEEDS_PASSWORD]),
    ("authentication is required", NEEDS_PASSWORD, _HINTS[NEEDS_PASSWORD]),
    ("not in the sudoers", REFUSED, _NO_RIGHT),
    ("may not run sudo", REFUSED, _NO_RIGHT),
    ("afraid i can't do that", REFUSED, _NO_RIGHT),
    ("not allowed to execute", REFUSED, "its sudoers must allow ALL commands, sh among them"),
    ("invalid option provided", REFUSED, "sudo-rs knows -p since 0.2.5: update it, or allow NOPASSWD"),
)


@dataclass(slots=True)
class SudoDialogue:
    """The dialogue for one command. Where it ``asks`` not, sudo must do without a password (``sudo -n``).

    ``password`` is not called before it is prompted for; ``None`` where there is none, so that a prompt is an error.
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
        options = ("-S", "-p", self._prompt.decode()) if self.asks else ("-n",)
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
        prompts = self._root.stderr.count(self._prompt) + self._is_answered
        if prompts > 0 and self.password is None:
            raise _refusal(NEEDS_PASSWORD, "asks for a password", _HINTS[NEEDS_PASSWORD])
        if prompts > 1:
            said = last_line(self._quotable(self._between_prompts()))
            what = "asks for the password again" + ("" if said == NOTHING else f", and says: {said}")
            raise _refusal(PASSWORD_WRONG, what, _HINTS[PASSWORD_WRONG])
        return rest

    def take_reply(self) -> bytes | None:
        """What to write now: the password, once, when the prompt was shown before the marker; else ``None``.

        Raises ``HostFailedError``, ``sudo_password_wrong``, for a password of several lines: the second one would answer
        the next prompt, or be the payload's first.
        """
        if self.password is None or self._is_answered or self._root.has_arrived:
            return None
        _, found, after = self._root.stderr.partition(self._prompt)
        if not found:
            return None
        self._root.stderr[:] = after
        self._is_answered = True
        line = _bytes_of(self.password())
        if b"\n" in line or b"\r" in line:
            raise _refusal(PASSWORD_WRONG, "cannot be given the password: it has line breaks", _ONE_LINE)
        return line + b"\n"

    def refusal(self, exit_status: int) -> HostFailedError:
        """The error for a root shell that did not start: by the exit status, then by sudo's output."""
        self.is_refused = True
        if exit_status in _NOT_RUN:
            return _refusal(REFUSED, f"says: {self._said()}", _NOT_INSTALLED)
        code, said, hint = self._reason() or (REFUSED, self._said(), _UNEXPLAINED)
        return _refusal(code, f"says: {said}", hint)

    def not_executed(self, stderr: bytearray) -> HostFailedError:
        """The error for a root shell that started, and then could not execute the command."""
        return _refusal(REFUSED, f"runs no command: {last_line(self._quotable(stderr))}", _NOEXEC)

    def no_answer(self, timeout_s: float) -> HostFailedError:
        """The error for a sudo that neither shows the prompt, nor refuses, nor runs the command."""
        what = f"did not answer within {timeout_s:g} s"
        usual = _OTHER_PROMPT if self.asks and not self._is_answered else _UNEXPLAINED
        _, said, hint = self._reason() or (REFUSED, self._said(), usual)
        if said == NOTHING:
            return _refusal(REFUSED, what, _UNEXPLAINED)
        return _refusal(REFUSED, f"{what}; it says: {said}", hint)

    def _reason(self) -> tuple[str, str, str] | None:
        """Code, line and hint for the first phrase of ``_REASONS`` in what sudo says; ``None`` where there is none of them."""
        lines = self._quotable(self._root.stderr).splitlines()
        for phrase, code, hint in _REASONS:
            for line in lines:
                if phrase in line.decode("utf-8", "replace").lower():
                    return code, last_line(line), hint
        return None

    def _said(self) -> str:
        """The last line from before the marker, of standard error if there is any; fit to be shown."""
        return last_line(self._quotable(self._root.stderr), self._quotable(self._root.stdout))

    def _between_prompts(self) -> bytearray:
        """The whole lines before the last prompt, which may begin within a line, and after the one before it."""
        return self._root.stderr.split(self._prompt)[-2].rpartition(b"\n")[0]

    def _quotable(self, output: bytearray) -> bytearray:
        """The output, with a mask where it repeats the password that was sent."""
        if self.password is None or not self._is_answered:
            return output
        return output.replace(_bytes_of(self.password()), _MASK)

    @property
    def _prompt(self) -> bytes:
        return f"[ionetctl {self._nonce}]".encode()


def _bytes_of(password: str) -> bytes:
    """Its bytes, also where an environment or a file of another encoding gave it."""
    return password.encode("utf-8", "surrogateescape")


def _refusal(code: str, what: str, hint: str) -> HostFailedError:
    return HostFailedError(code, f"sudo {what}", hint)
