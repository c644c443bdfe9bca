"""``ionetctl probe``: asks this machine's GPUs what hosts are asked over SSH."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ionetctl.cli import options
from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.cli.output import CommandResult, Common
from ionetctl.cli.run import run

if TYPE_CHECKING:
    from ionetctl.core.errors import ExitCode
    from ionetctl.summary.rollout_summary import Failure

EPILOG = """
[bold]Example[/bold]

[cyan]ionetctl probe -o json[/cyan] on a host of the site says what a survey would see; 5 where nobody could say.
"""


def probe(
    *,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Ask the GPUs of this machine what a survey asks those of hosts; read-only."""
    run(Common.of(output, quiet, verbose, color, no_input), lambda _: _probe(), describe_failure)


def describe_failure(failure: Failure, exit_code: ExitCode) -> dict[str, Any]:
    """The ``probe`` document of a probe that could not be made."""
    from ionetctl.core.observed import GpuReading
    from ionetctl.report.probe import document

    return document(GpuReading(None, ""), exit_code, failure)


def _probe() -> CommandResult:
    from ionetctl.app.local_probe import probe_here
    from ionetctl.report.probe import document, exit_code_of, gpu_row
    from ionetctl.ui.probe import probe_view

    reading = probe_here()
    rows = [gpu_row(gpu) for gpu in reading.gpus or ()]
    return CommandResult(document(reading), rows, lambda: probe_view(reading), exit_code_of(reading))
