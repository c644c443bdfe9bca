"""Whatever a host or region says, as raw bytes: where it is received it becomes harmless, and so it is in every output."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import asyncssh
import pytest
from hypothesis import example, given

from ionetctl.cli.options import ColorChoice, CommonOptions, OutputFormat
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.rollout_display import LinesSink
from ionetctl.core.errors import IonetctlError
from ionetctl.core.events import Envelope, HostFinished, encode
from ionetctl.core.model.names import Digest, HostName, RegionName
from ionetctl.core.observed import GpuReading, SeenGpu
from ionetctl.core.ports import Completed
from ionetctl.core.sanitize import harmless
from ionetctl.facts.gpu_output import parse_probe
from ionetctl.facts.obtain_output import parse_obtained
from ionetctl.facts.report_lines import APPLY_REPORTS, PREPARE_REPORTS, parse_report_line
from ionetctl.facts.survey_output import parse_survey
from ionetctl.facts.survey_records import RECORD_NAMES
from ionetctl.facts.text_output import parse_texts
from ionetctl.host.dialogue import last_error_line
from ionetctl.nomad import responses
from ionetctl.plan.text_diff import _visible
from ionetctl.report import csv, junit, preflight, probe
from ionetctl.report import json as report_json
from ionetctl.report import region as region_report
from ionetctl.ssh.commands.sudo import SudoDialogue
from ionetctl.ssh.error_translation import host_error, tunnel_error
from ionetctl.ssh.login import Login, LoginProgress
from ionetctl.summary.audit import audit
from ionetctl.summary.fleet import StatusReport, Verdict, VerifyReport
from ionetctl.summary.grouping import Causes
from ionetctl.summary.live_progress import ProgressFold
from ionetctl.summary.rollout_summary import Failure
from ionetctl.summary.summary_fold import summarize
from ionetctl.ui import findings, fleet, summary
from ionetctl.ui.audit import audit_lines
from ionetctl.ui.console import Color, make_console
from ionetctl.ui.live.terminal import Block
from ionetctl.ui.probe import probe_view
from ionetctl.ui.region import regions_view
from ionetctl.ui.verbosity import Verbosity
from tests.core.test_events import SAMPLES
from tests.support.fleet import node
from tests.support.hostile import (
    FRAGMENTS,
    hostile_in,
    hostile_in_csv,
    hostile_in_json,
    hostile_in_xml,
    hostile_on_terminal,
    said_bytes,
    saying,
    texts_of,
)
from tests.support.inspections import SILENT, inspection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rich.text import Text

    from ionetctl.core.model.facts import Facts
    from ionetctl.placement.readiness import Inspection, UnansweredRegion

EU: Final = RegionName("eu-north")
NOW: Final = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
EVERYTHING: Final = b"".join(FRAGMENTS)
DIGEST: Final = Digest("d" * 64)


# --- where it is received --------------------------------------------------------------------------------------------


def received(receive: Callable[..., object], *arguments: object) -> list[str]:
    """Every text of what is made of it, or of the error that it leads to."""
    try:
        return list(texts_of(receive(*arguments)))
    except IonetctlError as error:
        return [error.message, error.hint]


def surveyed(output: bytes) -> Facts:
    return parse_survey(output, "n", controller_time=0)


def survey(said: bytes) -> Sequence[object]:
    """It as every value of every record, all of one at a time."""
    fields = {
        **dict.fromkeys(RECORD_NAMES, 1),
        "disk": 5,
        "file": 4,
        "link": 2,
        "manifest": 2,
        "lock": 3,
        "docker": 7,
    }
    fields |= {
        "xid": 3,
        "interface": 6,
        "reach": 6,
        "firewall": 3,
        "miner": 3,
        "rig": 4,
        "mining-sign": 2,
        "ionet": 3,
    }
    good = {
        "disk": b"/x%s\t5\t%s\trw\t%s",
        "file": b"dd" * 32 + b"\t0644\ta%s:b\t/x%s",
        "link": b"%s\t/x%s",
        "manifest": b"dd" * 32 + b"\t/x%s",
        "docker": b"%s\t%s\t%s\t%s\t%s\t%s\t0",
        "interface": b"%s\taa:bb:cc:dd:ee:ff\t1\t1\t1\t1",
        "miner": b"%s\t5\t%s",
        "rig": b"HiveOS\t%s\t%s\t%s",
        "mining-sign": b"unit\t%s",
        "nomad.config": b"/x%s",
    }
    found = []
    for name in sorted(RECORD_NAMES - {"cert"}):
        forms = [b"\t".join([said] * fields[name])]
        if name in good:
            forms.append(good[name].replace(b"%s", said))
        for form in forms:
            output = b"ionet-survey\t1\tn\n%s\t%s\nionet-survey-end\tn\n" % (name.encode(), form)
            found.append(received(surveyed, output))
    return found


def reports(said: bytes) -> Sequence[object]:
    words = (*APPLY_REPORTS.parsers, *PREPARE_REPORTS.parsers, "")
    forms = [b"%s\t%s" % (word.encode(), middle + said) for word in words for middle in (b"", b"a\t")]
    return [
        received(parse_report_line, form, table)
        for form in [said, *forms]
        for table in (APPLY_REPORTS, PREPARE_REPORTS)
    ]


def gpus(said: bytes) -> Sequence[object]:
    text = said.decode(errors="replace")
    answer = {
        "took_ms": 1,
        "devices_on_bus": 1,
        "driver_version": text,
        "cuda_version": text,
        "nvml_version": text,
    }
    gpu = {
        "index": 0,
        "name": text,
        "uuid": "",
        "is_lost": False,
        "pci_bus_id": text,
        "fabric_state": text,
        "unreadable": [text],
    }
    gpu |= {"processes": [{"pid": 1, "name": text, "memory_mib": 1}], "mig": []}
    mig = {"uuid": text, "profile": text, "memory_mib": 1}
    records = [
        b"source\t" + said,
        b"unknown\t" + said,
        b"hanging\t" + said,
        said,
        b"nvml\t" + said,
        b"gpu\t0\t%s\t\t5\t%s\nsource\tx" % (said, said),
        b"gpu\t0\tx\t%s\t%s\t5\nsource\tx" % (said, said),
        *(
            b"nvml\t" + json.dumps(value).encode()
            for value in (
                answer | {"error": text},
                answer | {"gpus": [gpu]},
                answer | {"gpus": [gpu | {"mig": [mig]}]},
                answer | {text: 1},
            )
        ),
    ]
    return [
        received(parse_probe, b"ionet-probe\t1\tn\n%s\nionet-probe-end\tn\n" % record, "n")
        for record in records
    ]


def obtained(said: bytes) -> Sequence[object]:
    records = (
        b"missed\t%s\t%s\t%s" % (DIGEST.encode(), said, said),
        b"not-serving\t" + said,
        b"got\t%s\t%s" % (DIGEST.encode(), said),
        b"serving\t%s\t%s" % (said, said),
    )
    return [
        parse_obtained(b"ionet-obtain\t1\tn\n%s\nionet-obtain-end\tn\n" % record, "n", [DIGEST], ["10.0.0.1"])
        for record in records
    ]


def sudo(said: bytes) -> Sequence[object]:
    found: list[object] = []
    for status in (1, 127):
        dialogue = SudoDialogue(asks=True)
        dialogue.take_stderr(said)
        found.append(dialogue.refusal(status).message)
    return [*found, last_error_line(Completed(1, b"", said))]


def login(said: bytes) -> Sequence[object]:
    text = said.decode(errors="replace")
    progress = LoginProgress()
    Login(cast("Any", None), progress, cast("Any", None), None, lambda: None).auth_banner_received(text, "en")
    errors = (
        asyncssh.ProtocolError(text),
        asyncssh.DisconnectError(2, text),
        asyncssh.PermissionDenied(text),
        OSError(111, text),
        OSError(text),
        socket.gaierror(-2, text),
        UnicodeError(text),
    )
    prohibited = asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, text)
    failed = asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, f"[errno {text}] {text}")
    return [
        progress.banner,
        *(host_error(error, "a@g1:22").message for error in errors),
        *(tunnel_error(error, "a@g1:22", "j1").message for error in (prohibited, failed)),
    ]


def region(said: bytes) -> Sequence[object]:
    text = said.decode(errors="replace")
    driver = {"Healthy": True, "Detected": True, "Attributes": {"driver.docker.runtimes": text}}
    device = {"Vendor": text, "Type": text, "Name": text, "Instances": [{"ID": text}]}
    whole = {
        **dict.fromkeys(
            ("ID", "Name", "Datacenter", "Status", "SchedulingEligibility", "Address", "NodePool"), text
        ),
        **dict.fromkeys(("NodeClass", "Version"), text),
        "Drivers": {text: driver, "docker": driver},
        "NodeResources": {"Devices": [device]},
        "Meta": {text: text},
        "Attributes": {text: text},
    }
    member = {
        "Name": text,
        "Status": text,
        "Tags": {"region": EU, "rpc_addr": text, "port": text, "build": text},
    }
    alive = member | {"Status": "alive"}
    config = {"config": {"Server": {"ClientIntroduction": {"Enforcement": text}}}}
    kinds: list[tuple[type, object, Callable[[Any], object]]] = [
        (responses.WholeNode, whole, responses.node_detail),
        (
            responses.Members,
            {"Members": [member, alive]},
            lambda found: (found.servers(EU, ""), found.builds(EU)),
        ),
        (responses.AgentSelf, config, lambda found: found.enforcement),
        (responses.WholeNode, whole | {"Status": 5, text: 5}, lambda _: None),
    ]
    bodies = [json.dumps(body).encode() for _, body, _ in kinds]
    return [
        *(
            received(lambda kind, body, use: use(responses.decoded(kind, body, "it")), kind, body, use)
            for (kind, _, use), body in zip(kinds, bodies, strict=True)
        ),
        received(responses.decoded, responses.WholeNode, b'{"ID": "%s"}' % said, "it"),
        responses.excerpt(said, "hunter2"),
        responses.malformed("it", text).message,
    ]


def files(said: bytes) -> Sequence[object]:
    import base64

    output = b"ionet-read\t1\tn\ntext\t/x\t%s\nionet-read-end\tn\n" % base64.b64encode(said)
    return [
        [_visible(line) for line in parse_texts(output, "n")["/x"].splitlines()],
        received(parse_texts, said, "n"),
    ]


RECEIVERS: Final = {
    each.__name__: each for each in (survey, reports, gpus, obtained, sudo, login, region, files)
}


@pytest.mark.parametrize("name", RECEIVERS)
@given(said=said_bytes)
@example(said=EVERYTHING)
@example(said=b"9" * 5000)
def test_what_is_received_is_harmless(name: str, said: bytes) -> None:
    """No text of any record, nor of any error, does more than being read."""
    found = {text for text in texts_of(RECEIVERS[name](said)) if hostile_in(text, "")}
    assert found == set()


# --- where it is shown -----------------------------------------------------------------------------------------------

OF_HOSTS: Final = frozenset(
    {
        *(
            "message",
            "detail",
            "reason",
            "reasons",
            "os",
            "architecture",
            "machine_id",
            "gpus",
            "driver_version",
            "path",
        ),
        *("lines", "allocations", "server_version", "enforcement", "known_as"),
    }
)
"""The fields of events that hold what a host or region says, or that is made of it."""


def outputs(text: str) -> dict[str, list[str]]:
    """What is hostile in each output, where hosts and regions say that."""
    events = [saying(event, text, OF_HOSTS) for event in SAMPLES]
    envelopes = [
        Envelope(number, "2026-11-23T01:12:26.000Z", event) for number, event in enumerate(events, 1)
    ]
    ended = summarize(envelopes)
    failed = replace(ended, error=Failure("region_failing", text, text), stopped=None)
    nodes = [
        replace(node(0), status=text, eligibility=text, rack=text, node_pool=text, gpus={text: 1}),
        replace(node(1), name=HostName(text)),
    ]
    status = StatusReport(tuple(nodes), {EU: text})
    verify = VerifyReport((Verdict(node(0).name, EU, None, "node_down", text, text),))
    gpu = SeenGpu(0, text, "", 5, text, fabric_state=text, unreadable=(text,))
    reading = GpuReading((gpu,), text, driver_version=text, cuda_version=text)
    server = replace(inspection().status.servers[0], name=text, address=text, version=text, status=text)
    seen: list[Inspection | UnansweredRegion] = [
        replace(SILENT, message=text, hint=text),
        inspection(
            status={
                "servers": (server,),
                "enforcement": text,
                "pools": frozenset({text}),
                "server_version": "2.0.5",
            },
            nodes={text: 5},
        ),
    ]
    views: dict[str, Callable[[], Iterable[Text | str]]] = {
        "rollout": lambda: [*summary.lines(ended), *summary.lines(replace(ended, is_check=True))],
        "plan": lambda: [
            *summary.placement_lines(ended.placements),
            *summary.plan_lines(ended.plans),
            *summary.overview_lines(ended, 1, 80),
        ],
        **{f"preflight by {by}": partial(view, ended) for by, view in findings.VIEWS.items()},
        "status": lambda: [*fleet.status_view(status, NOW, 80), *fleet.watch_view(status, NOW, 80, 50)],
        "status -o wide": lambda: fleet.wide_view(status),
        "verify": lambda: fleet.verify_view(verify),
        "region check": lambda: regions_view(seen),
        "probe": lambda: probe_view(reading),
        "rollouts show --audit": lambda: audit_lines(audit(envelopes), text),
    }
    documents = {
        "enroll -o json": report_json.document(failed),
        "preflight -o json": preflight.preflight_document(ended),
        "probe -o json": probe.document(reading),
        "region check -o json": region_report.document(seen),
    }
    return {
        **{
            name: hostile_on_terminal(*(shown(view, color) for color in ("never", "always")))
            for name, view in views.items()
        },
        **{name: hostile_in_json(report_json.encode(document)) for name, document in documents.items()},
        "error": hostile_in(written(CommandResult(failure=failed.error), OutputFormat.HUMAN)),
        "lines": hostile_in(narrated(envelopes)),
        "screen": hostile_on_terminal(*(drawn(envelopes, color) for color in ("never", "always"))),
        "-o ndjson": hostile_in_json(b"\n".join(map(encode, envelopes))),
        "-o ndjson of rows": hostile_in_json(
            written(CommandResult({"schema": "a/1"}, [{"a": text, text: "b"}]), OutputFormat.NDJSON).encode()
        ),
        **{
            f"junit {index}": hostile_in_xml(junit.render(each)) for index, each in enumerate((ended, failed))
        },
        **{f"csv {index}": hostile_in_csv(csv.render(each)) for index, each in enumerate((ended, failed))},
    }


def shown(view: Callable[[], Iterable[Text | str]], color: Color) -> str:
    """What a command prints of a view."""
    return written(CommandResult(view=view), OutputFormat.HUMAN, color)


def written(result: CommandResult, form: OutputFormat, color: str = "never") -> str:
    """What a command prints on both its streams."""
    streams = io.StringIO(), io.StringIO()
    Display(CommonOptions(form, color=ColorChoice(color)), *streams).show(result)
    return "".join(stream.getvalue() for stream in streams)


def narrated(envelopes: list[Envelope]) -> str:
    """What a rollout says while it runs, at its most talkative."""
    stderr = io.StringIO()
    display = Display(CommonOptions(color=ColorChoice.NEVER), io.StringIO(), stderr)
    asyncio.run(LinesSink(display, Verbosity.DEBUG, has_past=False).take(envelopes))
    return stderr.getvalue()


def drawn(envelopes: list[Envelope], color: Color) -> str:
    """What a terminal shows while it runs."""
    screen, progress, causes = io.StringIO(), ProgressFold(), Causes()
    for envelope in envelopes:
        progress.take(envelope)
        if isinstance(envelope.event, HostFinished):
            causes.put(envelope.event.outcome)
    make_console(screen, color).print(Block(progress.snapshot(NOW), causes.causes()))
    return screen.getvalue()


@given(said=said_bytes)
@example(said=EVERYTHING)
@example(said=b"=1")
@example(said=b";=1")
def test_what_is_shown_is_harmless(said: bytes) -> None:
    """No control sequence, markup, bidirectional character, command or formula of theirs is in any output."""
    found = outputs(harmless(said.decode(errors="replace")))
    assert {name: hostile for name, hostile in found.items() if hostile} == {}


def test_the_control_is_what_nobody_has_made_harmless() -> None:
    """In outputs that trust their texts, whatever is hostile would be found; others make harmless what reaches them."""
    found = outputs(EVERYTHING.decode(errors="replace"))
    trusting = {"enroll -o json", "preflight -o json", "probe -o json", "region check -o json", "-o ndjson"}
    trusting |= {"-o ndjson of rows", "junit 0", "junit 1", "csv 0", "csv 1"}
    assert {name for name, hostile in found.items() if {"Azure", "GitHub"} <= set(hostile)} == trusting


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("\x1b[31m", "U+001B"),
        ("\u202e", "U+202E"),
        ("::error file=x::y", "GitHub"),
        ("a ##vso[task.setvariable]", "Azure"),
        ("##[error]", "Azure"),
        ("section_start:1:a\r\x1b[0K", "GitLab"),
    ],
)
def test_each_kind_would_be_found(text: str, kind: str) -> None:
    """The control of the checks themselves."""
    assert kind in hostile_in(text, "\n\r")
    assert kind in hostile_on_terminal(text, text)
    assert kind in hostile_in_json(json.dumps({"a": text}).encode())


@pytest.mark.parametrize("cell", ["=1", " +1", "a;=1", "a; @x", "\uff1d1"])
def test_each_formula_would_be_found(cell: str) -> None:
    """As above, for cells."""
    assert hostile_in_csv(f'b,"{cell}"\r\n'.encode()) == [f"formula {cell}"]


def test_markup_is_shown_as_it_is() -> None:
    """A text is no markup, whatever it looks like."""
    view = regions_view([replace(SILENT, message="[red]x[/] :boom: [link=http://x]y")])
    assert "[red]x[/] :boom: [link=http://x]y" in shown(lambda: view, "always")
