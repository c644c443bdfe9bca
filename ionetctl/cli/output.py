"""Turns a command's result into text, and an exception into a message and an exit code.

Data goes to standard output, everything else to standard error. A reader that closes its pipe does not stop a command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from ionetctl.cli.options import CommonOptions, OutputFormat
from ionetctl.core.errors import ExitCode, IonetctlError, most_serious
from ionetctl.ui.verbosity import Verbosity

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from ionetctl.summary.rollout_summary import Failure
    from ionetctl.ui.stream import SurvivingStream

ERROR_SCHEMA: Final = "ionetctl.error/1"
BUG_HINT: Final = "this is a bug in ionetctl; please report it with what -vv prints"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command found out.

    Only what ``--output`` asks for is made: with 10,000 hosts each form takes its time. ``document`` and ``rows`` may be
    functions that make them. ``document`` is written for ``-o json``, ``rows`` for ``-o ndjson`` (one a line; the document if empty). ``view``
    returns what people see, ``wide`` the same with more columns. ``names`` is what ``-o name`` prints. A row without a
    schema gets one from its document's: ``ionetctl.status/1`` has rows of ``ionetctl.status.row/1``.
    """

    document: Any = None
    rows: Sequence[Any] | Callable[[], Sequence[Any]] = ()
    view: Callable[[], Iterable[Text | str]] = tuple
    exit_code: ExitCode = ExitCode.OK
    failure: Failure | None = None
    wide: Callable[[], Iterable[Text | str]] | None = None
    names: Sequence[str] = ()


class Display:
    """Writes to both output streams of one command, as the common options ask."""

    def __init__(
        self, common: CommonOptions, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        self.common = common
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr

    @cached_property
    def out(self) -> Console:
        """The console on standard output, for data that people read."""
        return self._console(self._stdout)

    @cached_property
    def err(self) -> Console:
        """The console on standard error, for messages."""
        return self._console(self._stderr)

    @property
    def is_read(self) -> bool:
        """Whether the reader of standard output has not closed it."""
        return _surviving(self.out).is_open

    def info(self, text: str) -> None:
        """Write a message to standard error, unless ``-q``."""
        if self.common.verbosity > Verbosity.QUIET:
            self.message(text)

    def warn(self, text: str) -> None:
        """Write a warning to standard error."""
        self.message(f"warning  {text}")

    def message(self, text: str) -> None:
        """Write a message to standard error."""
        from rich.text import Text

        self.err.print(Text(text), soft_wrap=not self.err.file.isatty())

    async def message_aside(self, lines: Sequence[str]) -> None:
        """Write messages to standard error without waiting for its reader; see ``SurvivingStream.write_aside``."""
        with self.err.capture() as captured:
            for line in lines:
                self.message(line)
        await self.show_aside(captured.get())

    async def show_aside(self, text: str) -> None:
        """Write text as it is to standard error, likewise."""
        await _surviving(self.err).write_aside(text)

    def show_at_last(self, text: str) -> None:
        """Write text as it is to standard error at an end; see ``SurvivingStream.write_at_last``."""
        _surviving(self.err).write_at_last(text)

    async def write_aside(self, data: bytes) -> None:
        """As ``write``, without waiting for the reader; see ``SurvivingStream.write_aside``."""
        await _surviving(self.out).write_aside(data.decode())

    def show(self, result: CommandResult) -> None:
        """Write a result in the format of ``--output``, and its failure to standard error."""
        if result.failure is not None:
            self._show_failure(result.failure)
        match self.common.output:
            case OutputFormat.HUMAN:
                self._show_view(result.view)
            case OutputFormat.WIDE:
                self._show_view(result.wide or result.view)
            case OutputFormat.NAME:
                self._show_view(lambda: result.names)
            case OutputFormat.JSON:
                from ionetctl.report.json import encode

                self.write(encode(_made(result.document)))
            case OutputFormat.NDJSON:
                import msgspec

                self.write(msgspec.json.Encoder().encode_lines(_rows(result) or [_made(result.document)]))

    def write(self, data: bytes) -> None:
        """Write data unchanged to standard output."""
        self.out.file.write(data.decode())
        self.out.file.flush()

    def _show_failure(self, failure: Failure) -> None:
        from rich.text import Text

        from ionetctl.ui.console import print_lines
        from ionetctl.ui.phrases import plain

        head, *more = failure.message.split("\n")
        lines = [Text.assemble(("error", "bold red"), f" {failure.code}: {plain(head)}")]
        lines += [Text("  " + " " * (len(line) - len(line.lstrip())) + plain(line.lstrip())) for line in more]
        if failure.hint:
            lines.append(Text(f"  → {plain(failure.hint)}", style="dim"))
        print_lines(self.err, lines)

    def _show_view(self, view: Callable[[], Iterable[Text | str]]) -> None:
        from ionetctl.ui.console import print_lines

        print_lines(self.out, view())
        self.out.file.flush()

    def _console(self, stream: TextIO) -> Console:
        from ionetctl.ui.console import make_console

        return make_console(stream, self.common.color.value)


def _rows(result: CommandResult) -> list[dict[str, Any]]:
    rows = _made(result.rows)
    schema = _made(result.document).get("schema") if rows else None
    return [({"schema": schema.replace("/", ".row/")} if schema else {}) | row for row in rows]


def _made(form: Any) -> Any:  # noqa: ANN401  (plain data of any shape)
    return form() if callable(form) else form


def _surviving(console: Console) -> SurvivingStream:
    """The stream that ``make_console`` gave a console."""
    return cast("SurvivingStream", console.file)


def error_document(failure: Failure, exit_code: ExitCode) -> dict[str, Any]:
    """The ``-o json`` document of a failed command that has no document of its own for that."""
    from ionetctl.report import json

    return {"schema": ERROR_SCHEMA, "exit_code": int(exit_code), "error": json.failure(failure)}


def failure_of(error: BaseException) -> tuple[Failure, ExitCode]:
    """What to report for an exception, and its exit code.

    Of an exception that is not an ``IonetctlError`` only the type is reported: its text may contain secrets.
    """
    from ionetctl.summary.rollout_summary import Failure

    if isinstance(error, BaseExceptionGroup):
        return failure_of(most_serious(error))
    if isinstance(error, IonetctlError):
        return Failure(error.code, error.message, error.hint), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", "interrupted"), ExitCode.INTERRUPTED
    return Failure("internal_error", f"unexpected {type(error).__name__}", BUG_HINT), ExitCode.BUG
