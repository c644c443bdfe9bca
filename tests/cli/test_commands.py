"""Commands from outside: output, exit codes, what bad input gets."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import RunIonetctl

SAMPLE: Final = str(Path(__file__).parents[2] / "inventories" / "datacenter.yaml")
BAD: Final = "version: 1\nhots: []\nregions: 3\n"


def test_version_is_told(ionetctl: RunIonetctl) -> None:
    """--version prints name and version and ends well."""
    ended = ionetctl("--version")
    assert (ended.exit_code, ended.stdout.split()[0], ended.stderr) == (0, "ionetctl", "")


HEAVY: Final = frozenset({"asyncio", "asyncssh", "sqlalchemy", "pydantic", "httpx", "msgspec"})


TELL_MODULES: Final = """
import atexit, sys
from ionetctl.cli.app import main
atexit.register(lambda: print(*sys.modules, file=sys.__stderr__))
main()
"""


def imported_by(environment: dict[str, str], *arguments: str) -> frozenset[str]:
    """The modules that a command imports."""
    command = [sys.executable, "-c", TELL_MODULES, *arguments]
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stderr
    return frozenset(told.split())


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["enroll", "--help"]], ids=" ".join)
def test_help_loads_nothing_heavy(environment: dict[str, str], arguments: list[str]) -> None:
    """What only tells of commands answers at once: no heavy import on the way."""
    imported = imported_by(environment, *arguments)
    assert (imported & HEAVY, "typer" in imported) == (frozenset(), True)


@pytest.mark.parametrize(
    ("arguments", "expected"), [(["--version"], set()), (["enroll", "--help"], {"enroll"})], ids=str
)
def test_only_the_command_asked_for_is_loaded(
    environment: dict[str, str], arguments: list[str], expected: set[str]
) -> None:
    """A command waits for no other's module."""
    commands = "ionetctl.cli.commands."
    imported = imported_by(environment, *arguments)
    assert {name.removeprefix(commands) for name in imported if name.startswith(commands)} == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["enroll"],
        ["enroll", SAMPLE, "--nope"],
        ["enroll", SAMPLE, "--canary", "x"],
        ["enroll", SAMPLE, "-o", "xml"],
        ["enroll", SAMPLE, "--yes", "--rollout", "x"],
        ["enroll", SAMPLE, "--yes", "--batch-size", "ten"],
        ["enroll", SAMPLE, "--yes", "--report", "html=x.html"],
        ["enroll", SAMPLE, "--yes", "--report", "csv=/nowhere/at/all.csv"],
        ["inventory", "show", SAMPLE, "--limit", "nobody"],
        ["rollouts", "show"],
        ["rollouts", "show", "../../etc/passwd"],
        ["rollouts", "report"],
        ["lab", "down", "--dir", "/nowhere"],
        ["lab", "up", "--fault", "plague=1"],
    ],
    ids=" ".join,
)
def test_usage_errors_end_with_two(ionetctl: RunIonetctl, arguments: list[str]) -> None:
    """What cannot be carried out ends with 2 and a message, without a traceback."""
    ended = ionetctl(*arguments)
    assert (ended.exit_code, ended.stdout, bool(ended.stderr), "Traceback" in ended.stderr) == (
        2,
        "",
        True,
        False,
    )


def test_enroll_without_a_terminal_needs_consent(ionetctl: RunIonetctl) -> None:
    """Without a terminal enroll neither asks nor goes ahead: it says what to add."""
    ended = ionetctl("enroll", SAMPLE, "-o", "json")
    assert (ended.exit_code, ended.document["error"]["code"], ended.document["exit_code"]) == (
        2,
        "consent_needed",
        2,
    )
    assert "--yes" in ended.stderr


def test_wrong_inventory_ends_with_three(ionetctl: RunIonetctl, write: Callable[[str, str], str]) -> None:
    """Every problem is told with its place, and the enroll document says so too."""
    path = write("bad.yaml", BAD)
    ended = ionetctl("enroll", path, "--yes", "-o", "json")
    assert (ended.exit_code, ended.document["exit_code"], ended.document["hosts"]) == (3, 3, [])
    assert ended.document["error"]["code"] == "inventory_invalid"
    assert f"{path}:2:1: hots" in ended.stderr


def test_reports_are_written_for_early_errors(
    ionetctl: RunIonetctl, write: Callable[[str, str], str], tmp_path: Path
) -> None:
    """A rollout that never began leaves its reports all the same."""
    path = write("bad.yaml", BAD)
    reports = [f"--report={name}={tmp_path / name}" for name in ("junit", "csv")]
    ended = ionetctl("enroll", path, "--yes", *reports)
    texts = [(tmp_path / name).read_text() for name in ("junit", "csv")]
    assert (ended.exit_code, ["inventory_invalid" in text for text in texts]) == (3, [True, True])


def test_validate_lists_all_problems(ionetctl: RunIonetctl, write: Callable[[str, str], str]) -> None:
    """-o json has every problem with file, line, column, field and hint."""
    ended = ionetctl("inventory", "validate", write("bad.yaml", BAD), "-o", "json")
    found = [(problem["line"], problem["column"], problem["field"]) for problem in ended.document["problems"]]
    assert (ended.exit_code, found) == (3, [(1, 1, "nomad"), (2, 1, "hots"), (3, 10, "regions")])


def test_valid_inventory_ends_with_zero(ionetctl: RunIonetctl) -> None:
    """A right inventory is told in one line."""
    ended = ionetctl("inventory", "validate", SAMPLE)
    assert (ended.exit_code, ended.stdout.endswith("is valid: 26 hosts for eu-north\n")) == (0, True)


def test_models_that_nobody_knows_are_no_error(ionetctl: RunIonetctl) -> None:
    """A GPU model that no known one fits is warned of, and the inventory is valid all the same."""
    written = Path(SAMPLE).read_text()
    right = ionetctl("inventory", "validate", SAMPLE, "-o", "json")
    wrong = ionetctl(
        "inventory", "validate", "-", "-o", "json", stdin=written.replace("rtx-4090", "rxt-4090")
    )
    assert (right.exit_code, right.document["hints"], right.stderr) == (0, [], "")
    assert (wrong.exit_code, len(wrong.document["hints"])) == (0, 1)
    assert "did you mean rtx-4090?" in wrong.stderr


def test_inventory_is_read_from_standard_input(ionetctl: RunIonetctl) -> None:
    """A dash stands for standard input."""
    ended = ionetctl("inventory", "show", "-", "-o", "ndjson", stdin=Path(SAMPLE).read_text())
    assert (ended.exit_code, len(ended.stdout.splitlines())) == (0, 26)


def test_inventory_from_standard_input_leaves_nobody_to_ask(ionetctl: RunIonetctl) -> None:
    """With a dash enroll needs --yes or --check, since answers would come from the same place."""
    ended = ionetctl("enroll", "-", stdin=Path(SAMPLE).read_text())
    assert (ended.exit_code, "consent_needed" in ended.stderr) == (2, True)


def test_limit_chooses_hosts(ionetctl: RunIonetctl) -> None:
    """--limit and its environment variable do the same."""
    by_option = ionetctl("inventory", "show", SAMPLE, "--limit", "rack:b07", "-o", "ndjson")
    by_variable = ionetctl("inventory", "show", SAMPLE, "-o", "ndjson", IONETCTL_LIMIT="rack:b07")
    assert (by_option.exit_code, by_option.stdout) == (0, by_variable.stdout)
    assert 0 < len(by_option.stdout.splitlines()) < 26


def test_schema_is_json(ionetctl: RunIonetctl) -> None:
    """What editors read is JSON whether -o json is given or not."""
    plain, asked = ionetctl("inventory", "schema"), ionetctl("inventory", "schema", "-o", "json")
    assert json.loads(plain.stdout) == asked.document


def test_missing_issuer_key_is_no_bug(ionetctl: RunIonetctl) -> None:
    """An inventory whose secrets are not there ends with 3, before any host."""
    ended = ionetctl("enroll", SAMPLE, "--yes", "-o", "json")
    assert (ended.exit_code, ended.document["hosts"]) == (3, [])


@pytest.mark.parametrize("command", ["status --offline", "rollouts list", "artifacts list"])
def test_empty_state_is_no_error(ionetctl: RunIonetctl, command: str) -> None:
    """Before the first rollout there is nothing to show, and that is fine."""
    human = ionetctl(*shlex.split(command))
    machine = ionetctl(*shlex.split(command), "-o", "json")
    assert (human.exit_code, machine.exit_code, len(human.stdout.splitlines())) == (0, 0, 1)
    assert machine.document["schema"].startswith("ionetctl.")


def test_status_document_is_empty_at_first(ionetctl: RunIonetctl) -> None:
    """The contract's keys stand there without a node."""
    assert ionetctl("status", "-o", "json").document == {
        "schema": "ionetctl.status/1",
        "summary": {"nodes": 0, "ready": 0, "down": 0, "unknown": 0, "gpus": {}},
        "nodes": [],
        "unanswered": [],
        "error": None,
    }


def test_inventory_may_be_named_like_the_catalog(environment: dict[str, str], tmp_path: Path) -> None:
    """It is a file, not the nodes that were enrolled from here."""
    (tmp_path / "catalog").write_text(BAD)
    words = ("nodes", "exclude", "--all", "-i", "catalog", "--check", "-o", "json")
    command = [sys.executable, "-m", "ionetctl", *words]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True)
    assert (ended.returncode, json.loads(ended.stdout)["error"]["code"]) == (3, "inventory_invalid")


def test_corrupt_catalog_ends_with_three(ionetctl: RunIonetctl, environment: dict[str, str]) -> None:
    """A catalog that is none is said so; rebuild mends it."""
    state = Path(environment["IONETCTL_STATE_DIR"])
    state.mkdir()
    (state / "catalog.sqlite").write_bytes(b"not a database at all" * 100)
    broken, mended, well = (
        ionetctl("status", "-o", "json"),
        ionetctl("rollouts", "rebuild"),
        ionetctl("status"),
    )
    assert (broken.exit_code, broken.document["schema"]) == (3, "ionetctl.error/1")
    assert (mended.exit_code, well.exit_code) == (0, 0)


@pytest.mark.parametrize(
    "variables", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"COLUMNS": "1"}, {"TERM": "dumb"}]
)
def test_poor_terminals_are_no_error(ionetctl: RunIonetctl, variables: dict[str, str]) -> None:
    """ASCII, one column, a dumb terminal: the same words, no traceback."""
    for arguments in (["inventory", "show", SAMPLE], ["enroll", "--help"], ["enroll", SAMPLE, "--yes"]):
        ended = ionetctl(*arguments, **variables)
        assert ("Traceback" in ended.stderr, ended.exit_code in {0, 3}) == (False, True)


@pytest.mark.parametrize(
    "redirection", [">&-", "2>&-", ">&- 2>&-", "| true", "| head -c 1", "2>/dev/full", "</dev/null"]
)
def test_closed_streams_are_quiet(environment: dict[str, str], redirection: str) -> None:
    """Whoever stops reading gets nothing more, and nobody gets a traceback."""
    command = f"{shlex.quote(sys.executable)} -m ionetctl inventory schema {redirection}"
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_rendering_masks_secrets(
    ionetctl: RunIonetctl, write: Callable[[str, str], str], tmp_path: Path
) -> None:
    """Every file of a host is shown but for what is secret."""
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    inventory = write("site.yaml", RENDERED)
    ended = ionetctl("render", inventory, "rig-1", "-o", "json")
    files = {file["path"]: file["content"] for file in ended.document["files"]}
    assert ended.exit_code == 0
    assert files["/etc/nomad.d/tls/client-key.pem"] == "*** (secret)\n"
    assert "rig-1" in files["/etc/nomad.d/nomad.hcl"]


RENDERED: Final = """\
version: 1
datacenter: d1
regions:
  eu-north:
    api: [https://127.0.0.1:4646]
    servers: [127.0.0.1:4647]
    token: {env: TOKEN}
    tls: {ca: ca.pem, issuer: {cert: ca.pem, key: {file: ca-key.pem}}}
nomad: {version: 2.0.5, device_plugin_version: 1.1.0}
hosts:
  - {name: rig-1, address: 127.0.0.1, region: eu-north}
"""


@pytest.mark.parametrize(
    ("inventory", "options", "exit_code", "code"),
    [
        ("missing.yaml", [], 3, "inventory_invalid"),
        (SAMPLE, ["--batch-size", "many"], 2, "size_invalid"),
        (SAMPLE, ["--bwlimit", "fast"], 2, "rate_invalid"),
        (SAMPLE, ["--limit", "nobody"], 2, "limit_invalid"),
        (SAMPLE, [], 2, "consent_needed"),
    ],
)
def test_what_is_wrong_is_said_before_consent_is_needed(
    ionetctl: RunIonetctl, inventory: str, options: list[str], exit_code: int, code: str
) -> None:
    """Arguments and the inventory come first: nobody can agree to a rollout that cannot be."""
    ended = ionetctl("enroll", inventory, *options, "-o", "json")
    assert (ended.exit_code, ended.document["error"]["code"]) == (exit_code, code)


def test_names_are_refused_before_anything_is_done(ionetctl: RunIonetctl) -> None:
    """A rollout has nothing that -o name could print, and does not begin."""
    ended = ionetctl("enroll", SAMPLE, "--yes", "-o", "name")
    assert (ended.exit_code, "output_unsupported" in ended.stderr) == (2, True)


def test_names_and_wide_print_an_inventory(ionetctl: RunIonetctl) -> None:
    """Names stand one a line; wide is the view for people where there is no wider one."""
    names = ionetctl("inventory", "show", SAMPLE, "-o", "name").stdout.splitlines()
    wide, view = (ionetctl("inventory", "show", SAMPLE, "-o", form).stdout for form in ("wide", "human"))
    assert (names, wide) == ([line.split()[0] for line in view.splitlines()[1:]], view)


@pytest.mark.parametrize(
    ("command", "schema"),
    [
        (["inventory", "show", SAMPLE], "ionetctl.host/1"),
        (["explain"], "ionetctl.codes.row/1"),
        (["probe"], "ionetctl.probe/1"),
        (["status"], "ionetctl.status/1"),
    ],
)
def test_every_line_bears_its_schema(ionetctl: RunIonetctl, command: list[str], schema: str) -> None:
    """Rows by their document's schema; a document without rows is a line with its own."""
    lines = ionetctl(*command, "-o", "ndjson").stdout.splitlines()
    assert {json.loads(line)["schema"] for line in lines} == {schema}
