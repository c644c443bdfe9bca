"""``ionetctl lab``: a rehearsal fleet on loopback, to try everything without a host."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import Commands, command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ionetctl.lab.rehearsal import Lab
    from ionetctl.lab.site import LabSpec

app = Commands(
    no_args_is_help=True,
    help="A rehearsal fleet on loopback: SSH hosts and a region, no root needed.",
)

SCHEMA = "ionetctl.lab/1"

Directory = Annotated[
    str,
    typer.Option("--dir", metavar="DIR", envvar="IONETCTL_LAB_DIR", help="Where the rehearsal's files lie."),
]
Hosts = Annotated[
    int,
    typer.Option(
        "--hosts", metavar="N", min=1, envvar="IONETCTL_LAB_HOSTS", help="How many hosts to rehearse."
    ),
]
Fault = Annotated[
    list[str] | None,
    typer.Option(
        "--fault",
        metavar="NAME=N|N%",
        envvar="IONETCTL_LAB_FAULT",
        help="Give that many hosts a fault, such as unreachable=2%. May be given several times.",
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", envvar="IONETCTL_LAB_SEED", help="Which hosts get the faults.")
]
Modelled = Annotated[
    bool,
    typer.Option(
        "--modelled",
        envvar="IONETCTL_LAB_MODELLED",
        help="Answer for the hosts without their files and shells, so that 10,000 fit on a small machine.",
    ),
]

UP_EPILOG = """
[bold]Examples[/bold]

[cyan]ionetctl lab up --hosts 200 --detach --dir /tmp/lab[/cyan], then
[cyan]ionetctl enroll /tmp/lab/inventory.yaml --yes[/cyan]

[cyan]ionetctl lab up --hosts 10000 --modelled --detach --dir /tmp/lab[/cyan]

[cyan]ionetctl lab up --hosts 20 --fault unreachable=2 --fault wrong-key=1[/cyan] stays until Ctrl-C.
"""
RUN_EPILOG = """
[bold]Example[/bold]

[cyan]ionetctl lab run --hosts 20 -- ionetctl enroll {} --yes -o json[/cyan]
"""


@app.command(epilog=UP_EPILOG)
@command()
def up(
    display: Display,
    *,
    directory: Directory = "ionet-lab",
    hosts: Hosts = 20,
    fault: Fault = None,
    seed: Seed = 1,
    modelled: Modelled = False,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            envvar="IONETCTL_LAB_DETACH",
            help="Return when it serves, and leave it running until `lab down`.",
        ),
    ] = False,
) -> CommandResult:
    """Set a rehearsal fleet up, with an inventory that enrolls it."""
    import signal
    from pathlib import Path

    from ionetctl.lab.rehearsal import lab_run, lab_up

    spec = _spec(Path(directory).expanduser(), hosts, fault, seed, modelled=modelled)
    if detach:
        return _result(lab_up(spec))

    def show(lab: Lab) -> None:
        display.show(_result(lab))
        display.info("Ctrl-C takes it down")

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        lab_run(spec, show, signal.pause)
    except KeyboardInterrupt:
        display.info("taken down")
    raise typer.Exit(0)


@app.command()
@command()
def down(display: Display, *, directory: Directory = "ionet-lab") -> CommandResult:
    """End a rehearsal's processes; its files stay."""
    from pathlib import Path

    from ionetctl.lab.rehearsal import lab_down

    ended = lab_down(Path(directory).expanduser())
    display.info(f"ended: {', '.join(ended)}" if ended else "nothing was running")
    return CommandResult({"schema": SCHEMA, "directory": directory, "ended": ended})


@app.command("run", epilog=RUN_EPILOG)
@command()
def run_with_lab(
    display: Display,
    *,
    command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND", help="What to run; {} in it stands for the rehearsal's inventory."),
    ],
    hosts: Hosts = 20,
    fault: Fault = None,
    seed: Seed = 1,
) -> CommandResult:
    """Run a command against a rehearsal fleet that is up only for it, and end with its exit code."""
    with temporary_lab("ionet-lab-", hosts, fault, seed) as lab:
        display.info(f"a rehearsal is up; running {command[0]}")
        status = _run_program([argument.replace("{}", str(lab.inventory)) for argument in command])
    raise typer.Exit(status)


@contextmanager
def temporary_lab(
    prefix: str, hosts: int, faults: Sequence[str] | None = None, seed: int = 1
) -> Iterator[Lab]:
    """A rehearsal in a temporary directory, taken down and removed at the end; raises as ``lab_up`` does."""
    import tempfile
    from pathlib import Path

    from ionetctl.lab.rehearsal import lab_down, lab_up

    with tempfile.TemporaryDirectory(prefix=prefix) as directory:
        lab = lab_up(_spec(Path(directory) / "lab", hosts, faults, seed))
        try:
            yield lab
        finally:
            lab_down(lab.directory)


def _spec(
    directory: Path, hosts: int, faults: Sequence[str] | None, seed: int, *, modelled: bool = False
) -> LabSpec:
    """The rehearsal that the options ask for; raises ``UsageError`` for an unknown fault."""
    from ionetctl.lab.faults.assignment import parse_fault
    from ionetctl.lab.site import LabSpec

    requests = tuple(parse_fault(text) for text in faults or ())
    return LabSpec(hosts=hosts, directory=directory, faults=requests, seed=seed, modelled=modelled)


def _result(lab: Lab) -> CommandResult:
    document = {
        "schema": SCHEMA,
        "directory": str(lab.directory),
        "inventory": str(lab.inventory),
        "hosts": lab.hosts,
        "region": lab.region,
        "faults": dict(lab.faults),
    }
    return CommandResult(document, view=lambda: _view(lab))


def _view(lab: Lab) -> list[str]:
    from ionetctl.ui import phrases

    faulty = f", {len(lab.faults)} of them with a fault" if lab.faults else ""
    return [
        f"a rehearsal of {phrases.hosts(lab.hosts)}{faulty} and region {lab.region} is up in {lab.directory}",
        f"enroll it:     ionetctl enroll {lab.inventory} --yes",
        f"take it down:  ionetctl lab down --dir {lab.directory}",
    ]


def _run_program(command: Sequence[str]) -> int:
    """The command's exit status as a shell reports it; raises ``UsageError`` (``command_not_found``)."""
    import subprocess

    from ionetctl.core.errors import UsageError

    try:
        status = subprocess.run(command, check=False).returncode
    except OSError as error:
        message = f"cannot run {command[0]}: {error.strerror}"
        raise UsageError("command_not_found", message, "what stands after -- is run as it is") from error
    return status if status >= 0 else 128 - status
