"""``ionetctl preflight``: the survey and its findings alone."""

from __future__ import annotations

from ionetctl.cli import options
from ionetctl.cli.enroll import describe_failure
from ionetctl.cli.options import ColorChoice, OutputFormat
from ionetctl.cli.output import CommandResult, Common, Face
from ionetctl.cli.run import load_settings, run

EPILOG = """
[bold]Example[/bold]

[cyan]ionetctl preflight site.yaml -o json[/cyan] lists every host with what keeps it from being enrolled.
"""


def preflight(
    *,
    inventory: options.Inventory,
    concurrency: options.Concurrency = 100,
    timeout: options.Timeout = 120.0,
    takeover: options.Takeover = False,
    accept_new: options.AcceptNew = False,
    limit: options.Limit = None,
    state_dir: options.StateDir = None,
    output: options.Output = OutputFormat.HUMAN,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    color: options.Color = ColorChoice.AUTO,
    no_input: options.NoInput = False,
) -> None:
    """Survey the hosts over SSH, read-only, and report what would keep them from being enrolled."""

    def body(face: Face) -> CommandResult:
        from ionetctl import enrollment
        from ionetctl.cli.rollout_face import RolloutFace
        from ionetctl.ui.summary import preflight_lines

        wanted = enrollment.EnrollOptions(
            inventory=inventory,
            limit=limit,
            concurrency=concurrency,
            timeout_s=timeout,
            takeover=takeover,
            accept_new=accept_new,
        )
        settings = load_settings(state_dir)
        rollout = RolloutFace(face, settings, asks=False)
        summary = rollout.run(enrollment.preflight(wanted, settings, rollout.sinks))
        return rollout.result(summary, preflight_lines)

    run(Common.of(output, quiet, verbose, color, no_input), body, describe_failure)
