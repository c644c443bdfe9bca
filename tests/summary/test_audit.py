"""What an auditor is told of a rollout, as records and as text."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ionetctl.core import events
from ionetctl.core.events import Envelope
from ionetctl.core.model.names import Digest, HostName, NodeId
from ionetctl.core.model.outcome import Problem, Result
from ionetctl.core.model.plan import Action, Change
from ionetctl.host import apply_dialogue
from ionetctl.summary.audit import (
    NOTHING_CHANGED,
    AcceptedKey,
    Artifact,
    Audit,
    ChangedHost,
    Extent,
    PlannedChange,
    Run,
    audit,
)
from ionetctl.ui.audit import audit_lines
from tests.support import streams

FIRST, SECOND, OTHER = (streams.host_name(n) for n in range(3))
NOMAD = "/opt/nomad/releases/2.0.5/nomad"
UNIT = "/etc/systemd/system/nomad.service"
DIGESTS = {NOMAD: Digest("aa" * 32), UNIT: Digest("bb" * 32)}
PACKAGES = {"driver_570_amd64.deb": Digest("cc" * 32)}
CHANGES = (
    Change(Action.CREATE, NOMAD, "is missing"),
    Change(Action.UPDATE, UNIT, "differs"),
    Change(Action.RESTART, "nomad.service", "what it reads at its start changes"),
)


def at(seq: int) -> str:
    return f"2026-03-01T12:00:{seq:02d}.000Z"


def told(*said: events.AnyEvent) -> list[Envelope]:
    return [Envelope(seq, at(seq), event) for seq, event in enumerate(said, start=1)]


def started(*, is_check: bool = False) -> events.RolloutStarted:
    return events.RolloutStarted(
        rollout=streams.ROLLOUT,
        inventory="site.yaml",
        inventory_digest="d" * 64,
        owner="ada@ops",
        version="0.2.0",
        hosts=tuple(map(streams.entry, range(3))),
        is_check=is_check,
        command=("enroll", "site.yaml", "--limit", "a b"),
    )


CLOSING = events.KeyClosing(host=FIRST, account="miner", key="ssh-ed25519 A", files=("/h/keys",))
CLOSED = events.KeyClosed(host=FIRST, account="miner", fingerprint="SHA256:k")


def opened(cause: str) -> events.SshOpened:
    return events.SshOpened(host=FIRST, cause=cause, message="why")


def planned(host: HostName) -> events.HostPlanned:
    return events.HostPlanned(host=host, changes=CHANGES, stamp="s", digests=DIGESTS)


def step(host: HostName, *details: str, step: str = "apply") -> list[events.AnyEvent]:
    """An attempt at a step, and the parts of it that the host reported."""
    return [events.StepStarted(host=host, step=step, attempt=1, detail=detail) for detail in details]


BEGUN = ("", "compress", "receive", "verify", "validate")
INSTALLED = (*BEGUN, "backup", "install", "switch", "start", "node", "finish")
TOKEN = events.TokenMinted(host=FIRST, expires_at="2026-03-01T12:05:00+00:00")


STORY = told(
    started(),
    events.HostKeyAccepted(host=FIRST, fingerprint="SHA256:abc", known_as="[10.20.0.10]:22"),
    *map(planned, (FIRST, SECOND, OTHER)),
    *step(FIRST, "receive", "driver", step="prepare"),
    events.HostPrepared(host=FIRST, preparation="driver", detail="installed 570", digests=PACKAGES),
    events.HostPrepared(host=FIRST, preparation="clock"),
    events.HostRebooting(host=FIRST, reason="a new driver"),
    *step(FIRST, "", "receive", "token"),
    TOKEN,
    *step(FIRST, "install", "finish"),
    events.HostConfirmed(host=FIRST, node_id=NodeId("node-1"), stamp="s-n", gpus_seen=8),
    events.HostFinished(host=FIRST, outcome=streams.outcome(streams.entry(0))),
    events.Warned(code="w", message="of nobody"),
    *step(SECOND, "", "receive", "install"),
    events.StepFinished(host=SECOND, step="plan", attempt=1, duration_s=0.1),
    events.RolloutResumed(
        owner="bob@laptop", done=1, command=("enroll", "site.yaml", "--resume"), version="0.3.0"
    ),
    events.RolloutFinished(exit_code=5),
)
OUTCOME = streams.outcome(streams.entry(0))
EXPECTED_CHANGES = (
    PlannedChange("create", NOMAD, "is missing", DIGESTS[NOMAD]),
    PlannedChange("update", UNIT, "differs", DIGESTS[UNIT]),
    PlannedChange("restart", "nomad.service", "what it reads at its start changes", None),
)


def test_audit_of_a_rollout() -> None:
    """Every process with its user, machine, command and end; keys, programs, and the hosts that were changed or may have been alone."""
    assert audit(STORY) == Audit(
        rollout=streams.ROLLOUT,
        inventory="site.yaml",
        is_check=False,
        runs=(
            Run(at(1), "ada", "ops", "0.2.0", ("enroll", "site.yaml", "--limit", "a b"), "d" * 64),
            Run(
                at(24), "bob", "laptop", "0.3.0", ("enroll", "site.yaml", "--resume"), "",
                finished_at=at(25), exit_code=5,
            ),
        ),
        host_keys=(AcceptedKey(at(2), FIRST, "[10.20.0.10]:22", "SHA256:abc", "accept_new"),),
        artifacts=(Artifact(NOMAD, DIGESTS[NOMAD], 2), Artifact("driver_570_amd64.deb", Digest("cc" * 32), 1)),
        hosts=(
            ChangedHost(
                FIRST, "10.20.0.10", streams.REGION, at(6), at(18), Result.ENROLLED, OUTCOME.node_id, "s-n",
                EXPECTED_CHANGES, ["driver: installed 570", "clock"], ["a new driver"],
                ["2026-03-01T12:05:00+00:00"], Extent.CHANGED,
            ),
            ChangedHost(
                SECOND, "10.20.0.11", streams.REGION, at(21), changes=EXPECTED_CHANGES, extent=Extent.UNKNOWN
            ),
        ),
    )  # fmt: skip


def test_audit_of_a_host_that_was_closed() -> None:
    """What became of its SSH, in order, also where nothing else was done on it."""
    closing = replace(CLOSING, files=("/h/keys", "/h/keys2"))
    found = audit(told(started(), closing, CLOSED, opened("rebootstrap")))
    (host,) = found.hosts
    assert (host.name, host.began_at, host.access) == (
        FIRST,
        at(2),
        [
            "the key of miner is taken out of /h/keys, /h/keys2",
            "SHA256:k is refused as miner",
            "open, rebootstrap: why",
        ],
    )
    assert "    ssh  SHA256:k is refused as miner" in [str(line) for line in audit_lines(found, "whole")]


def test_audit_of_a_check() -> None:
    """What was only planned changed no host and brought no program."""
    found = audit(told(started(is_check=True), planned(FIRST), events.RolloutFinished(exit_code=9)))
    assert (found.is_check, found.hosts, found.artifacts) == (True, (), ())
    assert "no host was changed" in [str(line) for line in audit_lines(found, "whole")]


def test_audit_of_an_empty_journal() -> None:
    """Nothing happened; an end without a beginning is nobody's."""
    empty = Audit(None, "", is_check=False, runs=(), host_keys=(), artifacts=(), hosts=())
    assert (audit([]), audit(told(events.RolloutFinished(exit_code=0)))) == (empty, empty)


def test_audit_as_text() -> None:
    """All of it, in lines that begin with nothing that a host said."""
    shown = [str(line) for line in audit_lines(audit(STORY), "whole  ab")]
    assert shown == [
        "20260301T120000Z-7f3a  site.yaml",
        "journal  whole  ab",
        f"run  {at(1)}  ada on ops  no end recorded",
        "  command  ionetctl enroll site.yaml --limit 'a b'",
        "  version  0.2.0",
        f"  inventory  {'d' * 64}",
        f"run  {at(24)}  bob on laptop  ended {at(25)} with 5",
        "  command  ionetctl enroll site.yaml --resume",
        "  version  0.3.0",
        "  inventory  -",
        "host keys accepted",
        f"  {at(2)}  {FIRST}  [10.20.0.10]:22  SHA256:abc  accept-new",
        "programs",
        f"  {NOMAD}  {'aa' * 32}  2 hosts",
        f"  driver_570_amd64.deb  {'cc' * 32}  1 host",
        "hosts changed",
        f"  {FIRST}  10.20.0.10  {streams.REGION}  enrolled  {OUTCOME.node_id or '-'}  s-n",
        f"    from {at(6)}  to {at(18)}",
        f"    create  {NOMAD}  {'aa' * 32}",
        f"    update  {UNIT}  {'bb' * 32}",
        "    restart  nomad.service  what it reads at its start changes",
        "    prepared  driver: installed 570",
        "    prepared  clock",
        "    rebooted  a new driver",
        "    token  2026-03-01T12:05:00+00:00",
        "hosts that may have been changed: nothing more was heard of them",
        f"  {SECOND}  10.20.0.11  {streams.REGION}  no end recorded  -  -",
        f"    from {at(21)}  to -",
        f"    create  {NOMAD}  {'aa' * 32}",
        f"    update  {UNIT}  {'bb' * 32}",
        "    restart  nomad.service  what it reads at its start changes",
    ]


def test_audit_shows_nothing_raw() -> None:
    """What an old journal has of control characters and commands to a CI system is shown harmless."""
    key = events.HostKeyAccepted(host=HostName("g1"), fingerprint="\x1b[2J", known_as="\n::error::x")
    shown = "\n".join(str(line) for line in audit_lines(audit(told(started(), key)), "whole"))
    assert "\x1b" not in shown
    assert "\n::error" not in shown
    assert "error" in shown


def ended(result: Result, code: str = "", step: str = "apply") -> events.HostFinished:
    problem = Problem(code, step, "why", "what to do", 5) if code else None
    return events.HostFinished(host=FIRST, outcome=streams.outcome(streams.entry(0), result, problem))


ATTEMPT_ENDED = events.StepFinished(host=FIRST, step="apply", attempt=1, duration_s=1.0)
PREPARED = events.HostPrepared(host=FIRST, preparation="docker")


@pytest.mark.parametrize(
    ("said", "extent"),
    [
        pytest.param([], None, id="only-planned"),
        pytest.param(
            [*step(FIRST, "", "compress"), ended(Result.UNREACHABLE, "connect_timeout")],
            None,
            id="never-reached",
        ),
        pytest.param([*step(FIRST, ""), ended(Result.FAILED, "host_changed")], None, id="left-to-another"),
        pytest.param([*step(FIRST, ""), ATTEMPT_ENDED, ended(Result.UNCHANGED)], None, id="right-by-itself"),
        pytest.param([*step(FIRST, ""), ATTEMPT_ENDED, ended(Result.ENROLLED)], None, id="only-released"),
        pytest.param([ended(Result.DONE)], Extent.CHANGED, id="node-changed"),
        pytest.param(
            [*step(FIRST, *INSTALLED), ATTEMPT_ENDED, ended(Result.ENROLLED)], Extent.CHANGED, id="enrolled"
        ),
        pytest.param(step(FIRST, *INSTALLED), Extent.CHANGED, id="killed-after-the-last-part"),
        pytest.param(
            [*step(FIRST, *INSTALLED[:-1]), ended(Result.UNVERIFIED, "not_registered", "confirm")],
            Extent.CHANGED,
            id="runs-unconfirmed",
        ),
        pytest.param(
            [*step(FIRST, *BEGUN, "token"), ended(Result.UNVERIFIED, "region_silent", "region")],
            None,
            id="never-got-its-token",
        ),
        pytest.param([*step(FIRST, *BEGUN, "token"), TOKEN], Extent.UNKNOWN, id="killed-with-the-token"),
        pytest.param(
            [*step(FIRST, *BEGUN), ended(Result.FAILED, "config_invalid")], None, id="refused-before-a-change"
        ),
        pytest.param(
            [*step(FIRST, *BEGUN), ended(Result.FAILED, "apply_failed")], Extent.UNKNOWN, id="script-died"
        ),
        pytest.param(
            [*step(FIRST, *BEGUN, "backup", "install"), ended(Result.FAILED, "disk_full")],
            Extent.FAILED,
            id="put-back",
        ),
        pytest.param(
            [*step(FIRST, *BEGUN, "backup"), ended(Result.UNREACHABLE, "connection_lost")],
            Extent.UNKNOWN,
            id="lost",
        ),
        pytest.param(
            [*step(FIRST, *BEGUN), *step(FIRST, ""), ended(Result.UNREACHABLE, "connect_timeout")],
            Extent.UNKNOWN,
            id="lost-and-not-found-again",
        ),
        pytest.param(
            [*step(FIRST, *BEGUN), *step(FIRST, ""), ATTEMPT_ENDED, ended(Result.ENROLLED)],
            Extent.CHANGED,
            id="lost-and-found-enrolled",
        ),
        pytest.param(
            [
                *step(FIRST, "receive", "docker", step="prepare"),
                PREPARED,
                ended(Result.FAILED, "x", "prepare"),
            ],
            Extent.CHANGED,
            id="prepared-in-part",
        ),
        pytest.param(
            [*step(FIRST, "receive", "docker", step="prepare"), ended(Result.FAILED, "x", "prepare")],
            Extent.FAILED,
            id="preparation-failed",
        ),
        pytest.param(
            [*step(FIRST, "receive", "docker", step="prepare"), *step(FIRST, "receive"), ATTEMPT_ENDED],
            None,
            id="nothing-to-prepare",
        ),
        pytest.param([CLOSING, CLOSED, ended(Result.UNCHANGED)], Extent.CHANGED, id="closed"),
        pytest.param([CLOSING], Extent.UNKNOWN, id="killed-while-closing"),
        pytest.param([CLOSING, opened("cut_off")], Extent.UNKNOWN, id="closing-cut-off"),
        pytest.param(
            [CLOSING, opened("still_open"), ended(Result.FAILED, "still_open", "close")],
            Extent.CHANGED,
            id="closed-in-vain",
        ),
        pytest.param([opened("rebootstrap"), ended(Result.UNCHANGED)], None, id="only-opened"),
    ],
)
def test_extent(said: list[events.AnyEvent], extent: Extent | None) -> None:
    """A host counts as changed by what it reported, never because an apply was announced."""
    found = audit(told(started(), planned(FIRST), *said))
    assert [host.extent for host in found.hosts] == ([] if extent is None else [extent])


def test_errors_by_which_a_host_ends_an_apply() -> None:
    """They are among those that an apply has."""
    assert NOTHING_CHANGED - apply_dialogue.HINTS.keys() == set()


def test_failed_change_is_shown_with_its_error() -> None:
    """Whether the old files could be put back stands there."""
    found = audit(told(started(), *step(FIRST, *BEGUN, "install"), ended(Result.FAILED, "disk_full")))
    shown = [str(line) for line in audit_lines(found, "whole")]
    assert shown[6] == "hosts on which a change failed"
    assert shown[-1] == "    error  disk_full  why"
