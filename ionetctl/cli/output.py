"""The one place where a command's frozen result becomes text, and an exception a message and an exit code.

Data goes to standard output, everything else to standard error. Neither stops a command when nobody reads it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TextIO

from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.core.errors import ExitCode, IonetctlError
from ionetctl.ui.verbosity import Verbosity

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from ionetctl.summary.rollout_summary import Failure

ERROR_SCHEMA: Final = "ionetctl.error/1"
BUG_HINT: Final = "this is a bug in ionetctl; please report it with what -vv prints"


@dataclass(frozen=True, slots=True)
class Common:
    """What the common options of a command line ask for."""

    output: OutputFormat = OutputFormat.HUMAN
    verbosity: Verbosity = Verbosity.NORMAL
    color: ColorChoice = ColorChoice.AUTO
    no_input: bool = False

    @classmethod
    def of(
        cls, output: OutputFormat, quiet: bool, verbose: int, color: ColorChoice, no_input: bool
    ) -> Common:
        """The options as Typer hands them over; ``-q`` beats ``-v``."""
        verbosity = Verbosity.QUIET if quiet else Verbosity(min(Verbosity.NORMAL + verbose, Verbosity.DEBUG))
        return cls(output, verbosity, color, no_input)


def _no_view() -> Iterable[RenderableType]:
    return ()


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command found out.

    ``document`` is its ``-o json``, ``rows`` its ``-o ndjson`` (one a line; the document where empty), ``view`` makes
    what people see. ``is_streamed`` says that rows were written already while they came.
    """

    document: Any = None
    rows: Sequence[Any] = ()
    view: Callable[[], Iterable[RenderableType]] = field(default=_no_view)
    exit_code: ExitCode = ExitCode.OK
    failure: Failure | None = None


class Face:
    """Both output streams of one command, dressed as the common options ask."""

    def __init__(self, common: Common, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.common = common
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._consoles: dict[str, Console] = {}

    @property
    def out(self) -> Console:
        """The console on standard output, for data that people read."""
        return self._console("out", self._stdout)

    @property
    def err(self) -> Console:
        """The console on standard error, for everything that is no data."""
        return self._console("err", self._stderr)

    @property
    def is_read(self) -> bool:
        """Whether somebody may still be reading standard output."""
        from ionetctl.ui.stream import SurvivingStream

        return not isinstance(self.out.file, SurvivingStream) or self.out.file.is_open

    def say(self, text: str) -> None:
        """A line of accompanying text, unless ``-q``."""
        if self.common.verbosity > Verbosity.QUIET:
            self.note(text)

    def note(self, text: str) -> None:
        """A line of accompanying text, always."""
        from rich.text import Text

        self.err.print(Text(text), soft_wrap=not self.err.file.isatty())

    def show(self, result: CommandResult) -> None:
        """Write a result in the form that was asked for, and its failure to standard error."""
        if result.failure is not None:
            self.complain(result.failure)
        if self.common.output is OutputFormat.HUMAN:
            self._show_view(result)
        elif self.common.output is OutputFormat.JSON:
            self.write(encode_document(result.document))
        else:
            self.write(b"".join(encode_row(row) for row in result.rows or [result.document]))

    def write(self, data: bytes) -> None:
        """Data as it is, to standard output."""
        self.out.file.write(data.decode())
        self.out.file.flush()

    def complain(self, failure: Failure) -> None:
        """An error and its hint, to standard error."""
        from rich.text import Text

        from ionetctl.ui.console import print_lines
        from ionetctl.ui.phrases import plain

        head, *more = failure.message.split("\n")
        lines = [Text.assemble(("error", "bold red"), f" {failure.code}: {plain(head)}")]
        lines += [Text("  " + " " * (len(line) - len(line.lstrip())) + plain(line.lstrip())) for line in more]
        if failure.hint:
            lines.append(Text(f"  → {plain(failure.hint)}", style="dim"))
        print_lines(self.err, lines)

    def _show_view(self, result: CommandResult) -> None:
        for part in result.view():
            self.out.print(part, soft_wrap=not self.out.file.isatty())
        self.out.file.flush()

    def _console(self, name: str, stream: TextIO | None) -> Console:
        if name not in self._consoles:
            from ionetctl.ui.console import make_console

            self._consoles[name] = make_console(stream, self.common.color.value)
        return self._consoles[name]


def encode_document(value: object) -> bytes:
    """A JSON document of ours: UTF-8, indented, one line break at the end."""
    from ionetctl.report.json import encode

    return encode(value)


def encode_row(value: object) -> bytes:
    """One line of NDJSON."""
    import msgspec

    return msgspec.json.encode(value) + b"\n"


def error_document(failure: Failure, exit_code: ExitCode) -> dict[str, Any]:
    """What ``-o json`` says where a command has no document of its own for its failure."""
    error = {"code": failure.code, "message": failure.message, "hint": failure.hint}
    return {"schema": ERROR_SCHEMA, "exit_code": int(exit_code), "error": error}


def failure_of(error: BaseException) -> tuple[Failure, ExitCode]:
    """What to say about an exception, and the exit code it earns.

    Of an exception that is no error of ours only the type is told: its text may hold anything, secrets included.
    """
    from ionetctl.summary.rollout_summary import Failure

    if isinstance(error, BaseExceptionGroup):
        return failure_of(gravest(error))
    if isinstance(error, IonetctlError):
        return Failure(error.code, error.message, error.hint), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted", "interrupted"), ExitCode.INTERRUPTED
    return Failure("internal_error", f"unexpected {type(error).__name__}", BUG_HINT), ExitCode.BUG


def gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one to speak of: a bug before an error of ours, since it may have caused the others."""
    leaves = [
        gravest(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions
    ]
    return next((leaf for leaf in leaves if not isinstance(leaf, IonetctlError)), leaves[0])
