"""Streams whose reader goes away, and consoles on them."""

from __future__ import annotations

import asyncio
import io
import os
from typing import TextIO

import pytest
from rich.text import Text

from ionetctl.ui.console import MIN_WIDTH, PIPE_WIDTH, can_redraw, make_console, print_lines
from ionetctl.ui.stream import SurvivingStream


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def broken_pipe() -> TextIO:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return open(writing, "w", encoding="utf-8", buffering=1)  # noqa: PTH123  (closed by the tests)


def test_text_goes_through() -> None:
    """What is written arrives, and the stream says what is at its other end."""
    inner = io.StringIO()
    stream = SurvivingStream(inner)
    stream.write("a")
    stream.flush()
    assert (inner.getvalue(), stream.is_open, stream.isatty()) == ("a", True, False)


def test_reader_that_went_away_is_survived() -> None:
    """The first write into nowhere closes the stream; the next ones cost nothing and raise nothing."""
    with pytest.raises(BrokenPipeError), broken_pipe() as control:
        control.write("x\n")
    inner = broken_pipe()
    stream = SurvivingStream(inner)
    stream.write("x\n")
    stream.write("y\n")
    stream.flush()
    assert stream.is_open is False
    with pytest.raises(BrokenPipeError):
        inner.close()


def test_flush_into_nowhere_is_survived() -> None:
    """What only the flush finds out is survived too."""
    reading, writing = os.pipe()
    os.close(reading)
    inner = open(writing, "w", encoding="utf-8")  # noqa: PTH123, SIM115  (closed below)
    stream = SurvivingStream(inner)
    stream.write("x")
    stream.flush()
    assert stream.is_open is False
    with pytest.raises(BrokenPipeError):
        inner.close()


def test_closed_descriptor_is_no_stream() -> None:
    """A stream that was closed before we began takes everything and has no descriptor."""
    stream = SurvivingStream(None)
    stream.write("x")
    stream.flush()
    assert (stream.is_open, stream.isatty(), stream.encoding) == (False, False, "utf-8")
    with pytest.raises(io.UnsupportedOperation):
        stream.fileno()


def test_descriptor_is_the_inner_one() -> None:
    """Libraries that ask for the descriptor get the real one."""
    with open(os.devnull, "w", encoding="utf-8") as inner:  # noqa: PTH123  (a device, not a path of ours)
        assert SurvivingStream(inner).fileno() == inner.fileno()


def test_characters_that_the_encoding_lacks_become_similar_ones() -> None:
    """A terminal in the C locale sees what is done and what is to do; what has no likeness is a question mark."""
    raw = io.BytesIO()
    stream = SurvivingStream(io.TextIOWrapper(raw, encoding="ascii"))
    stream.write("━━── 1 · 2… → ü")
    stream.flush()
    assert raw.getvalue() == b"##.. 1 - 2~ > ?"


async def test_characters_are_replaced_aside_too() -> None:
    """What is written in a thread is no different."""
    reading, writing = os.pipe()
    with open(writing, "w", encoding="ascii") as inner:  # noqa: ASYNC230, PTH123  (a pipe of the test's)
        await SurvivingStream(inner).write_aside("━━──")
    with open(reading, "rb") as written:  # noqa: ASYNC230, PTH123  (likewise)
        assert written.read() == b"##.."


async def test_reader_who_stopped_is_given_up_by_who_no_longer_waits() -> None:
    """What is written later is discarded, but what restores a terminal: it comes when the reader goes on."""
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as inner:  # noqa: ASYNC230, PTH123  (a pipe of the test's)
        stream = SurvivingStream(inner)
        await stream.write_aside("a")
        endless = asyncio.create_task(stream.write_aside("b" * 1_000_000))
        await asyncio.sleep(0)
        endless.cancel()
        with pytest.raises(asyncio.CancelledError):
            await endless
        assert (stream.is_open, stream.write("discarded"), stream.failure) == (False, 9, None)
        stream.write_at_last("restored")
        read = b""
        while len(read) < len("a" + "restored") + 1_000_000:
            read += os.read(reading, 65536)
        os.close(reading)
    assert read.replace(b"b", b"") == b"arestored"


def test_further_lines_keep_the_indent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrapped on a terminal goes on below its beginning, behind the label."""
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    console = make_console(terminal)
    print_lines(
        console, [Text("  why    no answer within ten seconds"), "  + create /etc/nomad.d/nomad.hcl  it"]
    )
    assert terminal.getvalue().splitlines() == [
        "  why    no answer within ten",
        "         seconds",
        "  + create",
        "    /etc/nomad.d/nomad.hcl  it",
    ]


def test_command_to_be_copied_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal may fold it, but puts no line breaks into what is copied."""
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    print_lines(make_console(terminal), [Text("to go on: " + "word " * 20, no_wrap=True)])
    assert len(terminal.getvalue().splitlines()) == 1


def test_pipes_get_lines_whole() -> None:
    """Nothing is wrapped where a program reads."""
    inner = io.StringIO()
    console = make_console(inner)
    print_lines(console, [Text("x" * 500)])
    assert (inner.getvalue(), console.width) == ("x" * 500 + "\n", PIPE_WIDTH)


class Counting(io.StringIO):
    """Counts the writes."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


def test_many_lines_cost_no_write_each() -> None:
    """10,000 lines are printed as one is, with their styles and tabs."""
    inner = Counting()
    lines: list[Text | str] = [Text("a\tb", style="red"), *(f"line {number}" for number in range(99))]
    print_lines(make_console(inner, "always"), lines)
    red = "\x1b[31ma       \x1b[0m\x1b[31mb\x1b[0m"
    assert (inner.writes, inner.getvalue().splitlines()[:2]) == (1, [red, "line 0"])


def test_narrow_terminal_is_taken_for_a_wider_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of one column is written to as if it had room, without an error."""
    monkeypatch.setenv("COLUMNS", "1")
    monkeypatch.setenv("TERM", "xterm")
    console = make_console(Terminal())
    print_lines(console, [Text("hello")])
    assert (console.width, can_redraw(console)) == (MIN_WIDTH, False)


@pytest.mark.parametrize(
    ("term", "columns", "lines", "expected"),
    [
        ("xterm", "100", "30", True),
        ("dumb", "100", "30", False),
        ("xterm", "30", "30", False),
        ("xterm", "100", "5", False),
    ],
)
def test_display_is_redrawn_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, term: str, columns: str, lines: str, *, expected: bool
) -> None:
    """A live display needs a terminal that can move its cursor, forty columns and eight lines."""
    for name, value in (("TERM", term), ("COLUMNS", columns), ("LINES", lines)):
        monkeypatch.setenv(name, value)
    assert can_redraw(make_console(Terminal())) is expected
    assert can_redraw(make_console(io.StringIO())) is False


@pytest.mark.parametrize(
    ("color", "stream", "environment", "expected"),
    [
        ("auto", Terminal, {}, True),
        ("auto", Terminal, {"NO_COLOR": "1"}, False),
        ("auto", io.StringIO, {}, False),
        ("always", io.StringIO, {}, True),
        ("never", Terminal, {}, False),
    ],
)
def test_colour_is_as_wished(
    monkeypatch: pytest.MonkeyPatch,
    color: str,
    stream: type[io.StringIO],
    environment: dict[str, str],
    *,
    expected: bool,
) -> None:
    """Colour goes to terminals unless NO_COLOR is set, and everywhere or nowhere where that is asked for."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    inner = stream()
    print_lines(make_console(inner, color), [Text("x", style="red")])  # type: ignore[arg-type]
    assert ("31" in inner.getvalue()) is expected
