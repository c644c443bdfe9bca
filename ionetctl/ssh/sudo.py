"""How a command becomes root's: the dialogue with sudo, without any I/O of its own.

Output before the root shell's answer belongs to sudo: its lecture, its prompt, a login's noise. The prompt carries a
nonce and is answered once; the answer of the root shell carries another. Until that one came, nothing else is sent, so
that a payload never lands in a password prompt and a password never in a payload.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.core.errors import HostFailedError
from ionetctl.core.sanitize import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NEEDS_PASSWORD: Final = "sudo_needs_password"  # noqa: S105  (an error code)
CHATTER_BYTES: Final = 64 * 1024
_ANSWER: Final = """printf '%s\\n' "$1" >&2; printf '%s\\n' "$1"; shift; exec "$@\""""
_REASONS: Final = (
    (
        "must have a tty",
        "sudo_refused",
        "its sudoers has requiretty: remove it for this user (Defaults:USER !requiretty)",
    ),
    (
        "incorrect password",
        "sudo_password_wrong",
        "correct ssh: {become_password: …}; it is the login user's password",
    ),
    (
        "try again",
        "sudo_password_wrong",
        "correct ssh: {become_password: …}; it is the login user's password",
    ),
    (
        "password is required",
        NEEDS_PASSWORD,
        "set ssh: {become_password: …}, or allow NOPASSWD in its sudoers",
    ),
    (
        "not in the sudoers",
        "sudo_refused",
        "allow this user in its sudoers, or log in as root (ssh: {become: root})",
    ),
    (
        "may not run sudo",
        "sudo_refused",
        "allow this user in its sudoers, or log in as root (ssh: {become: root})",
    ),
    ("not allowed to execute", "sudo_refused", "its sudoers must allow ALL commands, sh among them"),
    ("not found", "sudo_refused", "install sudo there, or log in as root (ssh: {become: root})"),
    ("no such file", "sudo_refused", "install sudo there, or log in as root (ssh: {become: root})"),
)
_UNEXPLAINED: Final = "run `sudo -n true` on the host by hand to see what it says"


@dataclass(slots=True)
class SudoDialogue:
    """One command's way through sudo. ``password`` is asked for at most once; ``None`` means ``sudo -n``."""

    password: Callable[[], str] | None
    _nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    _started: str = field(default_factory=lambda: f"ionetctl-root-{secrets.token_hex(16)}")
    _stdout: bytearray = field(default_factory=bytearray)
    _stderr: bytearray = field(default_factory=bytearray)
    _is_answered: bool = False

    def wrap(self, argv: Sequence[str]) -> tuple[str, ...]:
        """``argv`` run by root behind the answer that ``take_stdout`` waits for.

        English messages are asked for, because they are what tells a wrong password from a refusal.
        """
        ask = ("-n",) if self.password is None else ("-S", "-p", self._prompt)
        return ("env", "LC_ALL=C", "sudo", *ask, "--", "sh", "-c", _ANSWER, "sh", self._started, *argv)

    def take_stdout(self, data: bytes) -> bytes | None:
        """What follows the root shell's answer, or ``None`` while it has not come."""
        self._stdout += data
        rest = self._after_answer(self._stdout)
        if rest is None:
            del self._stdout[: -len(self._answer)]
        return rest

    def take_stderr(self, data: bytes) -> bytes | None:
        """What follows the root shell's answer there, or ``None`` while it has not come.

        Raises ``HostFailedError`` (``sudo_password_wrong``) when the prompt comes a second time.
        """
        self._stderr += data
        rest = self._after_answer(self._stderr)
        if rest is None:
            del self._stderr[:-CHATTER_BYTES]
        if self._stderr.count(self._prompt.encode()) > 1:
            raise _refusal("sudo_password_wrong", "asks for the password again", _hint_for("try again"))
        return rest

    def take_reply(self) -> bytes | None:
        """What is to be written now: the password, once, when the prompt is there."""
        if self.password is None or self._is_answered or self._prompt.encode() not in self._stderr:
            return None
        self._is_answered = True
        return self.password().encode() + b"\n"

    def refusal(self) -> HostFailedError:
        """Why the root shell never answered, by what sudo said."""
        said = self._stderr.decode("utf-8", "replace")
        lowered = said.lower()
        for words, code, hint in _REASONS:
            if words in lowered:
                return _refusal(code, f"says: {_last_line(said)}", hint)
        return _refusal("sudo_refused", f"says: {_last_line(said) or 'nothing'}", _UNEXPLAINED)

    def _after_answer(self, said: bytearray) -> bytes | None:
        at = said.find(self._answer)
        return None if at < 0 else bytes(said[at + len(self._answer) :])

    @property
    def _answer(self) -> bytes:
        return f"{self._started}\n".encode()

    @property
    def _prompt(self) -> str:
        return f"[ionetctl {self._nonce}]"


def no_answer(timeout_s: float) -> HostFailedError:
    """The error for a sudo that neither asks, nor refuses, nor runs anything."""
    return _refusal("sudo_refused", f"did not answer within {timeout_s:g} s", _UNEXPLAINED)


def _refusal(code: str, what: str, hint: str) -> HostFailedError:
    return HostFailedError(code, f"sudo {what}", hint)


def _hint_for(words: str) -> str:
    return next(hint for known, _, hint in _REASONS if known == words)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return harmless(lines[-1], 300) if lines else ""
