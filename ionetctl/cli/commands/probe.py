"""``ionetctl probe``: reads this machine's GPUs as a survey reads those of hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import command

if TYPE_CHECKING:
    from ionetctl.core.errors import ExitCode
    from ionetctl.summary.rollout_summary import Failure

EPILOG = """
[bold]Example[/bold]

[cyan]ionetctl probe -o json[/cyan] on a host of the site says what a survey would see; 5 where nobody could say.
"""


def failure_document(failure: Failure, exit_code: ExitCode) -> dict[str, Any]:
    """The ``probe`` document of a probe that failed."""
    from ionetctl.core.observed import GpuReading
    from ionetctl.report.probe import document

    return document(GpuReading(None, ""), exit_code, failure)


@command(failure_document)
def probe(_: Display) -> CommandResult:
    """Ask the GPUs of this machine what a survey asks those of hosts; read-only."""
    from ionetctl.app.local_probe import probe_here
    from ionetctl.report.probe import document, exit_code_of, gpu_row
    from ionetctl.ui.probe import probe_view

    reading = probe_here()
    rows = [gpu_row(gpu) for gpu in reading.gpus or ()]
    return CommandResult(document(reading), rows, lambda: probe_view(reading), exit_code_of(reading))
