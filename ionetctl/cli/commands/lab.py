"""``ionetctl lab``: a rehearsal fleet on loopback, to try everything without a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ionetctl.cli import options
from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.cli.output import CommandResult, Common, Face
from ionetctl.cli.run import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ionetctl.lab.rehearsal import Lab
    from ionetctl.lab.site import LabSpec

app = typer.Typer(
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

UP_EPILOG = """
[bold]Examples[/bold]

[cyan]ionetctl lab up --hosts 200 --detach --dir /tmp/lab[/cyan], then
[cyan]ionetctl enroll /tmp/lab/inventory.yaml --yes[/cyan]

[cyan]ionetctl lab up --hosts 20 --fault unreachable=2 --fault wrong-key=1[/cyan] stays until Ctrl-C.
"""
RUN_EPILOG = """
[bold]Example[/bold]

[cyan]ionetctl lab run --hosts 20 -- ionetctl enroll {} --yes -o json[/cyan]
"""


@app.command(epilog=UP_EPILOG)
def up(
    *,
    directory: Directory = "ionet-lab",
    hosts: Hosts = 20,
    fault: Fault = None,
    seed: Seed = 1,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            envvar="IONETCTL_LAB_DETACH",
            help="Return when it serves, and leave it running until `lab down`.",
        ),
    ] = False,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Set a rehearsal fleet up, with an inventory that enrolls it."""
    run(
        Common.of(output, quiet, verbose, color, no_input),
        lambda face: _up(face, make_spec(directory, hosts, fault or [], seed), is_detached=detach),
    )


@app.command()
def down(
    *,
    directory: Directory = "ionet-lab",
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """End a rehearsal's processes; its files stay."""
    run(Common.of(output, quiet, verbose, color, no_input), lambda face: _down(face, directory))


@app.command("run", epilog=RUN_EPILOG)
def run_command(
    *,
    command: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND", help="What to run; {} in it stands for the rehearsal's inventory."),
    ],
    hosts: Hosts = 20,
    fault: Fault = None,
    seed: Seed = 1,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Run a command against a rehearsal fleet that is up only for it, and end with its exit code."""
    run(
        Common.of(output, quiet, verbose, color, no_input),
        lambda face: _run(face, command, hosts, fault or [], seed),
    )


def make_spec(directory: str, hosts: int, faults: Sequence[str], seed: int) -> LabSpec:
    """The rehearsal that the options ask for; raises ``UsageError`` for a fault that is none."""
    from pathlib import Path

    from ionetctl.lab.faults.assignment import parse_fault
    from ionetctl.lab.site import LabSpec

    requests = tuple(parse_fault(text) for text in faults)
    return LabSpec(hosts=hosts, directory=Path(directory).expanduser(), faults=requests, seed=seed)


def _up(face: Face, spec: LabSpec, *, is_detached: bool) -> CommandResult:
    import signal

    from ionetctl.lab.rehearsal import lab_run, lab_up

    if is_detached:
        return _described(lab_up(spec))

    def tell(lab: Lab) -> None:
        face.show(_described(lab))
        face.say("Ctrl-C takes it down")

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        lab_run(spec, tell, signal.pause)
    except KeyboardInterrupt:
        face.say("taken down")
    raise typer.Exit(0)


def _described(lab: Lab) -> CommandResult:
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


def _down(face: Face, directory: str) -> CommandResult:
    from pathlib import Path

    from ionetctl.lab.rehearsal import lab_down

    ended = lab_down(Path(directory).expanduser())
    face.say(f"ended: {', '.join(ended)}" if ended else "nothing was running")
    return CommandResult({"schema": SCHEMA, "directory": directory, "ended": ended})


def _run(face: Face, command: Sequence[str], hosts: int, faults: Sequence[str], seed: int) -> CommandResult:
    import tempfile
    from pathlib import Path

    from ionetctl.lab.rehearsal import lab_down, lab_up

    with tempfile.TemporaryDirectory(prefix="ionet-lab-") as directory:
        lab = lab_up(make_spec(str(Path(directory) / "lab"), hosts, faults, seed))
        try:
            face.say(f"a rehearsal is up; running {command[0]}")
            status = _run_program([argument.replace("{}", str(lab.inventory)) for argument in command])
        finally:
            lab_down(lab.directory)
    raise typer.Exit(status)


def _run_program(command: Sequence[str]) -> int:
    """The exit status of the command, as a shell would have it; raises ``UsageError`` where it cannot be started."""
    import subprocess

    from ionetctl.core.errors import UsageError

    try:
        status = subprocess.run(command, check=False).returncode
    except OSError as error:
        message = f"cannot run {command[0]}: {error.strerror}"
        raise UsageError("command_not_found", message, "what stands after -- is run as it is") from error
    return status if status >= 0 else 128 - status
