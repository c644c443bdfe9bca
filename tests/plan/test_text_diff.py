"""What ``--diff`` shows of a plan, and what it must not show."""

from __future__ import annotations

from dataclasses import replace

from ionetctl.core import host_paths
from ionetctl.core.model.plan import Action, Change, Kind, Plan
from ionetctl.plan.bundle import with_stamp
from ionetctl.plan.text_diff import MAX_LINES, compared_paths, file_diffs
from tests.support.sample import HOST, OWN_KEYS, bundle

BUNDLE = bundle()
STAMP = "4be5f344cb242f8b-0123456789ab"


def plan(*changes: tuple[Action, str]) -> Plan:
    return Plan(HOST.name, STAMP, tuple(Change(action, path, "") for action, path in changes))


def wanted(path: str) -> str:
    content = next(file.content for file in BUNDLE.files if file.path == path)
    return with_stamp(content, STAMP).decode()


def lines(path: str, present: str | None, action: Action = Action.UPDATE) -> tuple[str, ...]:
    texts = {} if present is None else {path: present}
    [diff] = file_diffs(BUNDLE, plan((action, path)), texts)
    return diff.lines


def test_texts_that_are_updated_are_asked_for() -> None:
    """Only what is there and changes is needed from the host; programs and secrets are not shown."""
    everything = plan(
        (Action.UPDATE, host_paths.DOCKER_CONFIG),
        (Action.CREATE, host_paths.UNIT),
        (Action.CHMOD, host_paths.HOWTO),
        (Action.UPDATE, host_paths.nomad_program("2.0.5")),
        (Action.UPDATE, host_paths.NODE_KEY),
    )
    assert compared_paths(BUNDLE, everything) == (host_paths.DOCKER_CONFIG,)


def test_secret_text_is_not_compared() -> None:
    """A file that is secret is left out whatever its kind; the same file in the open is shown."""
    files = tuple(
        replace(f, is_secret=True) if f.path == host_paths.DOCKER_CONFIG else f for f in BUNDLE.files
    )
    updating = plan((Action.UPDATE, host_paths.DOCKER_CONFIG))
    hidden = file_diffs(replace(BUNDLE, files=files), updating, {})
    shown = file_diffs(BUNDLE, updating, {})
    assert ([diff.path for diff in hidden], [diff.path for diff in shown]) == ([], [host_paths.DOCKER_CONFIG])


def test_changed_line_is_shown() -> None:
    """A unified diff names both sides and the lines between which they differ."""
    present = wanted(host_paths.DOCKER_CONFIG) + "extra = 1\n"
    shown = lines(host_paths.DOCKER_CONFIG, present)
    assert shown[:2] == (f"--- {host_paths.DOCKER_CONFIG} (on the host)", f"+++ {host_paths.DOCKER_CONFIG}")
    assert [line for line in shown[2:] if line[0] in "+-"] == ["-extra = 1"]


def test_new_file_comes_from_nothing() -> None:
    """A file that is created is all additions, its stamp filled in."""
    shown = lines(host_paths.CLIENT_CONFIG, None, Action.CREATE)
    assert (shown[0], any(STAMP in line for line in shown)) == ("--- /dev/null", True)


def test_what_the_host_has_is_shown_harmless() -> None:
    """Escape sequences of a host's file reach no terminal; indentation stays."""
    shown = lines(host_paths.DOCKER_CONFIG, "\tone\x1b[2J\u202etwo\n")
    assert "-    one?[2J?two" in shown


def test_long_files_are_cut() -> None:
    """A file that is not ours can be of any length, a diff cannot."""
    assert len(lines(host_paths.DOCKER_CONFIG, "x\n" * 10_000)) == MAX_LINES


def test_kinds_without_text_are_none() -> None:
    """The control of what is compared: bundles have kinds of every sort."""
    files = (*BUNDLE.files, *bundle(region=OWN_KEYS).files)
    assert {file.kind for file in files} == set(Kind)
