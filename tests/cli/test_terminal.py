"""What a person at a terminal sees and is asked, in a real pseudo-terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pexpect
import pytest

ROOT: Final = Path(__file__).parents[2]
PLAYER: Final = ["-m", "tests.support.player"]
CTRL_S: Final = "\x13"
SAMPLE: Final = str(ROOT / "inventories" / "datacenter.yaml")


def spawn(
    environment: dict[str, str],
    *arguments: str,
    term: str = "xterm-256color",
    size: tuple[int, int] = (24, 100),
    program: str = sys.executable,
) -> pexpect.spawn[str]:
    return pexpect.spawn(
        program,
        list(arguments),
        env=environment | {"TERM": term},
        cwd=ROOT,
        dimensions=size,
        encoding="utf-8",
        timeout=30,
        # Whoever runs the tests in the background has SIGINT ignored, and children would inherit that.
        preexec_fn=hear_interrupts,
    )


def hear_interrupts() -> None:
    """Not to ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def ended(child: pexpect.spawn[str]) -> tuple[int | None, str]:
    """Exit code and the rest of what was shown."""
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before or ""


def test_plan_is_shown_and_agreed_to(environment: dict[str, str]) -> None:
    """The plan stands on the screen, the prompt waits, and a yes goes on to the summary."""
    child = spawn(environment, *PLAYER, "ask")
    child.expect(re.escape("Change 117 hosts? [y/N] "))
    assert "/etc/nomad.d/nomad.hcl" in (child.before or "")
    child.sendline("y")
    code, text = ended(child)
    assert (code, "117 enrolled" in text, "rey1-a01-g[04-05]" in text) == (5, True, True)


@pytest.mark.parametrize("answer", ["n", "", "yes please"])
def test_anything_but_yes_is_no(environment: dict[str, str], answer: str) -> None:
    """Only y and yes go on."""
    child = spawn(environment, *PLAYER, "ask")
    child.expect("y/N")
    child.sendline(answer)
    code, text = ended(child)
    assert (code, "enrolled" in text.replace("enrolled 0", "")) == (2, False)


def test_end_of_input_is_no(environment: dict[str, str]) -> None:
    """Ctrl-D at the prompt changes nothing."""
    child = spawn(environment, *PLAYER, "ask")
    child.expect("y/N")
    child.sendeof()
    assert ended(child)[0] == 2


def test_cursor_comes_back(environment: dict[str, str]) -> None:
    """A display that hid the cursor shows it again, after an error too."""
    text = ended(spawn(environment, *PLAYER, "break"))[1]
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0


def test_interrupt_gives_the_terminal_back(environment: dict[str, str]) -> None:
    """Ctrl-C in the middle ends with 130, cursor shown, without a traceback."""
    child = spawn(environment, *PLAYER)
    child.expect("surveying")
    child.kill(signal.SIGINT)
    code, text = ended(child)
    assert (code, "Traceback" in text, "\x1b[?25h" in text) == (130, False, True)


@pytest.mark.parametrize("options", [(), ("ask",)], ids=["rollout", "prompt"])
def test_interrupt_is_answered_by_a_terminal_that_stands(
    environment: dict[str, str], tmp_path: Path, options: tuple[str, ...]
) -> None:
    """After Ctrl-S nothing can be shown: a signal ends it all the same, and the document is written."""
    document = tmp_path / "document.json"
    script = f'exec "$0" "$@" >{document}'
    child = spawn(environment, "-c", script, sys.executable, *PLAYER, "json", *options, program="bash")
    child.expect("surveying")
    child.send(CTRL_S)
    child.kill(signal.SIGINT)
    assert (child.wait(), json.loads(document.read_text())["exit_code"]) == (130, 130)
    child.close()


@pytest.mark.parametrize(
    ("term", "size"), [("dumb", (24, 100)), ("xterm", (24, 1)), ("xterm", (2, 100)), ("xterm", (24, 30))]
)
def test_poor_terminal_gets_lines(environment: dict[str, str], term: str, size: tuple[int, int]) -> None:
    """Where nothing can be redrawn the same is told line by line."""
    code, text = ended(spawn(environment, *PLAYER, term=term, size=size))
    assert (code, "Traceback" in text, "\x1b[?25l" in text) == (5, False, False)
    assert "wave" in text.replace("\r\n", "")


def test_terminal_in_ci_is_left_alone(environment: dict[str, str]) -> None:
    """CI=true stands for no terminal: nothing is redrawn, nobody is asked."""
    code, text = ended(spawn(environment | {"CI": "true"}, *PLAYER))
    assert (code, "\x1b[?25l" in text) == (5, False)
    asked = spawn(environment | {"CI": "true"}, "-m", "ionetctl", "enroll", SAMPLE)
    assert "consent_needed" in ended(asked)[1]


def test_no_colour_where_none_is_wanted(environment: dict[str, str]) -> None:
    """NO_COLOR leaves the words; without it there are colours."""
    plain = ended(spawn(environment | {"NO_COLOR": "1"}, *PLAYER))[1]
    colourful = ended(spawn(environment, *PLAYER))[1]
    assert [bool(re.search(r"\x1b\[[0-9;]*3[1-7]m", text)) for text in (plain, colourful)] == [False, True]


def test_resizing_is_survived(environment: dict[str, str]) -> None:
    """A terminal that shrinks in the middle is drawn on as it is."""
    child = spawn(environment, *PLAYER)
    child.expect("surveying")
    child.setwinsize(9, 41)
    child.expect(r"\x1b\[")
    child.setwinsize(3, 5)
    assert ended(child)[0] == 5


def played(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *PLAYER, *options],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_ndjson_streams_events_and_ends_with_the_summary(environment: dict[str, str]) -> None:
    """One event a line in order, the enroll document last, everything else on standard error."""
    done = played(environment, "ndjson")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["schema"] for line in lines[:-1]} == {"ionetctl.event/1"}
    assert [line["seq"] for line in lines[:-1]] == list(range(1, len(lines)))
    assert (lines[-1]["schema"], lines[-1]["summary"]["enrolled"], done.returncode) == (
        "ionetctl.enroll/1",
        117,
        5,
    )


def test_error_in_the_middle_keeps_the_hosts(environment: dict[str, str]) -> None:
    """What was known when the region fell silent is in the document, beside the error."""
    done = played(environment, "json", "break")
    document = json.loads(done.stdout)
    assert (document["error"]["code"], document["exit_code"], done.returncode) == ("region_silent", 8, 8)
    assert (document["summary"]["hosts"], "error region_silent: no answer" in done.stderr) == (120, True)


@pytest.mark.parametrize("output", ["human", "json", "ndjson"])
def test_reader_that_goes_away_does_not_end_the_rollout(environment: dict[str, str], output: str) -> None:
    """A closed pipe makes it quiet; the exit code is still the rollout's."""
    command = (
        f"{sys.executable} -m tests.support.player {output} | head -c 10 >/dev/null; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (5, False)


COMMANDS = (
    ("--help",),
    ("--version",),
    ("inventory", "schema"),
    ("explain",),
    ("rollouts", "list"),
    ("status", "--offline", "-o", "json"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_standard_output_on_a_full_disk_is_an_error(
    environment: dict[str, str], command: tuple[str, ...]
) -> None:
    """Of every command: what was to be read is not there, so it is no success."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ionetctl", *command],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    first, *_ = done.stderr.splitlines()
    expected = "error output_unwritable: cannot write standard output: No space left on device"
    assert (done.returncode, first, "Traceback" in done.stderr) == (11, expected, False)


@pytest.mark.parametrize("output", ["human", "json", "ndjson"])
def test_full_disk_does_not_hide_how_the_rollout_ended(environment: dict[str, str], output: str) -> None:
    """Its exit code stays, and both are told."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.player", output],
            env=environment,
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, "error output_unwritable: " in done.stderr) == (5, True)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_closed_pipe_is_quiet(environment: dict[str, str], command: tuple[str, ...]) -> None:
    """Of every command: ``ionetctl --help | head -1`` is a success, and says nothing on standard error."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ionetctl", *command],
            env=environment,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
