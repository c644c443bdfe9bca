"""Running a command as root: the dialogue with sudo, without any I/O of its own.

Root's shell starts by printing a marker with a nonce. Output before the marker is sudo's or the login's: a lecture, the
prompt, a greeting. The prompt carries another nonce and is answered once. Nothing else is sent before the marker has
arrived, so that a payload never reaches a password prompt and a password never a payload.
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
STDERR_KEPT_BYTES: Final = 64 * 1024
_PRINT_MARKER: Final = """printf '%s\\n' "$1" >&2; printf '%s\\n' "$1"; shift; exec "$@\""""
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
    """The dialogue for one command. ``password`` is called at most once; ``None`` means ``sudo -n``."""

    password: Callable[[], str] | None
    _nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    _started: str = field(default_factory=lambda: f"ionetctl-root-{secrets.token_hex(16)}")
    _stdout: bytearray = field(default_factory=bytearray)
    _stderr: bytearray = field(default_factory=bytearray)
    _is_answered: bool = False

    def wrap(self, argv: Sequence[str]) -> tuple[str, ...]:
        """The command line that runs ``argv`` as root, after the marker that ``take_stdout`` waits for.

        With English messages (``LC_ALL=C``): they alone tell a wrong password from a refusal.
        """
        options = ("-n",) if self.password is None else ("-S", "-p", self._prompt)
        return (
            "env",
            "LC_ALL=C",
            "sudo",
            *options,
            "--",
            "sh",
            "-c",
            _PRINT_MARKER,
            "sh",
            self._started,
            *argv,
        )

    def take_stdout(self, data: bytes) -> bytes | None:
        """What follows the marker on standard output, or ``None`` before it has arrived."""
        self._stdout += data
        rest = self._after_marker(self._stdout)
        if rest is None:
            del self._stdout[: -len(self._marker)]
        return rest

    def take_stderr(self, data: bytes) -> bytes | None:
        """What follows the marker on standard error, or ``None`` before it has arrived.

        Raises ``HostFailedError`` (``sudo_password_wrong``) when the prompt is shown a second time.
        """
        self._stderr += data
        rest = self._after_marker(self._stderr)
        if rest is None:
            del self._stderr[:-STDERR_KEPT_BYTES]
        if self._stderr.count(self._prompt.encode()) > 1:
            raise _refusal("sudo_password_wrong", "asks for the password again", _hint_for("try again"))
        return rest

    def take_reply(self) -> bytes | None:
        """What to write now: the password, once, when the prompt was shown; else ``None``."""
        if self.password is None or self._is_answered or self._prompt.encode() not in self._stderr:
            return None
        self._is_answered = True
        return self.password().encode() + b"\n"

    def refusal(self) -> HostFailedError:
        """The error for a root shell that did not start, by sudo's output."""
        output = self._stderr.decode("utf-8", "replace")
        lowered = output.lower()
        for phrase, code, hint in _REASONS:
            if phrase in lowered:
                return _refusal(code, f"says: {_last_line(output)}", hint)
        return _refusal("sudo_refused", f"says: {_last_line(output) or 'nothing'}", _UNEXPLAINED)

    def _after_marker(self, output: bytearray) -> bytes | None:
        at = output.find(self._marker)
        return None if at < 0 else bytes(output[at + len(self._marker) :])

    @property
    def _marker(self) -> bytes:
        return f"{self._started}\n".encode()

    @property
    def _prompt(self) -> str:
        return f"[ionetctl {self._nonce}]"


def no_answer(timeout_s: float) -> HostFailedError:
    """The error for a sudo that neither prompts, nor refuses, nor runs the command."""
    return _refusal("sudo_refused", f"did not answer within {timeout_s:g} s", _UNEXPLAINED)


def _refusal(code: str, what: str, hint: str) -> HostFailedError:
    return HostFailedError(code, f"sudo {what}", hint)


def _hint_for(phrase: str) -> str:
    return next(hint for known, _, hint in _REASONS if known == phrase)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return harmless(lines[-1], 300) if lines else ""
