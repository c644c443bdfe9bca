"""The options that commands share, each defined once: flags, environment variable, help and panel.

Typer reads these annotations. What an option means to a rollout is not known here. Imports little, since every
``--help`` loads this.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Self

import typer

from ionetctl.ui.verbosity import Verbosity

COMMON: Final = "Common options"
ROLLOUT: Final = "Rollout options"


class OutputFormat(StrEnum):
    """How data is written to standard output."""

    HUMAN = "human"
    JSON = "json"
    NDJSON = "ndjson"
    WIDE = "wide"
    """As ``HUMAN``, with more columns where a command has them."""
    NAME = "name"
    """Names alone, one a line, where a command lists something that has names."""


class DistributionChoice(StrEnum):
    """How hosts get programs."""

    PUSH = "push"
    MIRROR = "mirror"
    FANOUT = "fanout"


class ColorChoice(StrEnum):
    """When to use colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class EngineChoice(StrEnum):
    """Where the work on hosts runs."""

    AUTO = "auto"
    INLINE = "inline"
    PROCESSES = "processes"


Inventory = Annotated[
    str, typer.Argument(metavar="INVENTORY", help="The site's inventory file; - reads standard input.")
]

InventoryFile = Annotated[
    str | None,
    typer.Option(
        "--inventory",
        "-i",
        metavar="FILE",
        envvar="IONETCTL_INVENTORY",
        help="Take the hosts and regions of this inventory; otherwise those that were enrolled from here.",
    ),
]

Output = Annotated[
    OutputFormat,
    typer.Option(
        "-o",
        "--output",
        envvar="IONETCTL_OUTPUT",
        help="How data is written to standard output; wide has more columns, name names alone.",
        rich_help_panel=COMMON,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "-q", "--quiet", envvar="IONETCTL_QUIET", help="Say only what went wrong.", rich_help_panel=COMMON
    ),
]
Verbose = Annotated[
    int,
    typer.Option(
        "-v",
        "--verbose",
        count=True,
        metavar="",
        envvar="IONETCTL_VERBOSE",
        help="Say more; -vv for every step and for tracebacks.",
        rich_help_panel=COMMON,
        show_default=False,
    ),
]
Color = Annotated[
    ColorChoice,
    typer.Option(
        "--color",
        envvar="IONETCTL_COLOR",
        help="When to use colour; NO_COLOR is honoured.",
        rich_help_panel=COMMON,
    ),
]
NoInput = Annotated[
    bool,
    typer.Option(
        "--no-input",
        envvar="IONETCTL_NO_INPUT",
        help="Never ask; fail where an answer is needed.",
        rich_help_panel=COMMON,
    ),
]
Limit = Annotated[
    str | None,
    typer.Option(
        "--limit",
        metavar="EXPR",
        envvar="IONETCTL_LIMIT",
        help="Only these hosts: names, ranges, @group, rack:a01, !exclude; separated by commas.",
        rich_help_panel=COMMON,
    ),
]
StateDir = Annotated[
    str | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        envvar="IONETCTL_STATE_DIR",
        help="Where journals and catalog lie, instead of the platform's state directory.",
        rich_help_panel=COMMON,
    ),
]
Artifacts = Annotated[
    str | None,
    typer.Option(
        "--artifacts",
        metavar="DIR|URL",
        envvar="IONETCTL_ARTIFACTS",
        help="Take releases from this directory or mirror instead of the vendor's site.",
    ),
]
Distribution = Annotated[
    DistributionChoice | None,
    typer.Option(
        "--distribution",
        envvar="IONETCTL_DISTRIBUTION",
        help="How hosts get programs: over SSH, from a mirror, or from each other; instead of the inventory's.",
        rich_help_panel=ROLLOUT,
    ),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check",
        envvar="IONETCTL_CHECK",
        help="Stop after the plan and change nothing; 9 if there are changes.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", envvar="IONETCTL_YES", help="Do not ask before hosts change.")
]
Canary = Annotated[
    int,
    typer.Option(
        "--canary",
        metavar="N",
        min=0,
        envvar="IONETCTL_CANARY",
        help="Hosts that go first, alone.",
        rich_help_panel=ROLLOUT,
    ),
]
BatchSize = Annotated[
    str,
    typer.Option(
        "--batch-size",
        metavar="N|N%",
        envvar="IONETCTL_BATCH_SIZE",
        help="Hosts per wave after the canary.",
        rich_help_panel=ROLLOUT,
    ),
]
MaxFailures = Annotated[
    str,
    typer.Option(
        "--max-failures",
        metavar="N|N%",
        envvar="IONETCTL_MAX_FAILURES",
        help="Stop when more hosts than this have failed; unreachable ones are not counted.",
        rich_help_panel=ROLLOUT,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        envvar="IONETCTL_RESUME",
        help="Go on with the last rollout of this inventory; hosts that are done are left alone.",
        rich_help_panel=ROLLOUT,
    ),
]
RolloutId = Annotated[
    str | None,
    typer.Option(
        "--rollout",
        metavar="ID",
        envvar="IONETCTL_ROLLOUT",
        help="With --resume: this rollout instead of the last; the beginning of its id will do.",
        rich_help_panel=ROLLOUT,
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        envvar="IONETCTL_RETRY_FAILED",
        help="With --resume: only the hosts that failed. Otherwise they go last, and never as the canary.",
        rich_help_panel=ROLLOUT,
    ),
]
SkipFailed = Annotated[
    bool,
    typer.Option(
        "--skip-failed",
        envvar="IONETCTL_SKIP_FAILED",
        help="With --resume: leave out the hosts that failed.",
        rich_help_panel=ROLLOUT,
    ),
]
Reports = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FORMAT=FILE",
        envvar="IONETCTL_REPORT",
        help="Also write a report: junit=FILE or csv=FILE. May be given several times.",
    ),
]
Concurrency = Annotated[
    int,
    typer.Option(
        "--concurrency",
        metavar="N",
        min=1,
        envvar="IONETCTL_CONCURRENCY",
        help="Most hosts at work at the same time; fewer where they do not keep up.",
        rich_help_panel=ROLLOUT,
    ),
]
Engine = Annotated[
    EngineChoice,
    typer.Option(
        "--engine",
        envvar="IONETCTL_ENGINE",
        help="Where the work on hosts runs: here, or in worker processes. auto: in workers for 2,000 hosts and more.",
        rich_help_panel=ROLLOUT,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        envvar="IONETCTL_WORKERS",
        help="Worker processes.  [default: the cores]",
        rich_help_panel=ROLLOUT,
        show_default=False,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="S",
        min=1.0,
        envvar="IONETCTL_TIMEOUT",
        help="Seconds that one step of one host may take.",
        rich_help_panel=ROLLOUT,
    ),
]
AcceptNew = Annotated[
    bool,
    typer.Option(
        "--accept-new",
        envvar="IONETCTL_ACCEPT_NEW",
        help="Trust and record host keys seen for the first time; changed ones are still refused.",
    ),
]
Rebootstrap = Annotated[
    bool,
    typer.Option(
        "--rebootstrap",
        envvar="IONETCTL_REBOOTSTRAP",
        help="Use SSH again on hosts that were closed to it; have the key put back there first.",
    ),
]
Takeover = Annotated[
    bool,
    typer.Option(
        "--takeover",
        envvar="IONETCTL_TAKEOVER",
        help="Replace a Nomad client that ionetctl did not install.",
    ),
]
LoseJobs = Annotated[
    bool,
    typer.Option(
        "--lose-jobs",
        envvar="IONETCTL_LOSE_JOBS",
        help="Also change hosts whose jobs are lost by it; the plan names them.",
    ),
]


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """What the options that every command has ask for."""

    output: OutputFormat = OutputFormat.HUMAN
    verbosity: Verbosity = Verbosity.NORMAL
    color: ColorChoice = ColorChoice.AUTO
    no_input: bool = False

    @classmethod
    def parse(
        cls,
        *,
        output: Output = OutputFormat.HUMAN,
        quiet: Quiet = False,
        verbose: Verbose = 0,
        color: Color = ColorChoice.AUTO,
        no_input: NoInput = False,
    ) -> Self:
        """The record of what Typer read; ``-q`` wins over ``-v``. Every command has these parameters as options."""
        verbosity = Verbosity.QUIET if quiet else Verbosity(min(Verbosity.NORMAL + verbose, Verbosity.DEBUG))
        return cls(output, verbosity, color, no_input)
