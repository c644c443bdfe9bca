"""``ionetctl nodes exclude``, ``include``, ``drain``, ``meta``: changes of nodes through their regions, as rollouts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ionetctl.cli import options
from ionetctl.cli.output import CommandResult, Display
from ionetctl.cli.run import Commands, command, given_words, load_settings
from ionetctl.core.errors import UsageError

if TYPE_CHECKING:
    from typing import NoReturn

    from ionetctl.core.errors import ExitCode
    from ionetctl.core.settings import Settings
    from ionetctl.maintenance.node_actions import NodeAction
    from ionetctl.summary.rollout_summary import Failure

    Act = Callable[[Settings], NodeAction]
    """Makes the action that a command asks for."""
else:
    # Read with the signatures, for which nothing of this need be loaded.
    Act = object

Reason = Annotated[
    str,
    typer.Option(
        "--reason",
        metavar="TEXT",
        envvar="IONETCTL_REASON",
        help="Why; recorded with the node, with who and when.",
    ),
]
Pairs = Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="What to set.", show_default=False)]
Keys = Annotated[list[str], typer.Argument(metavar="KEY", help="What to remove.", show_default=False)]


def exclude(*, reason: Reason = "") -> Act:
    """Keep new jobs from nodes; what runs there goes on.

    Who, when and why stand in the node's metadata. `enroll` never undoes it.
    """

    def act(settings: Settings) -> NodeAction:
        from ionetctl.core.clock import SystemClock
        from ionetctl.core.sanitize import harmless
        from ionetctl.maintenance.node_actions import Exclude
        from ionetctl.maintenance.node_state import REASON_CHARACTERS

        at = SystemClock().now().isoformat(timespec="seconds").replace("+00:00", "Z")
        return Exclude(settings.owner, at, harmless(reason, REASON_CHARACTERS))

    return act


def include(
    *,
    force: Annotated[
        bool,
        typer.Option(
            "--force", envvar="IONETCTL_FORCE", help="Also nodes that have not proved their GPUs to ionetctl."
        ),
    ] = False,
) -> Act:
    """Let nodes have jobs again, and see that their system jobs come back."""

    def act(_: Settings) -> NodeAction:
        from ionetctl.maintenance.node_actions import Include

        return Include(force=force)

    return act


def drain(
    *,
    deadline: Annotated[
        str,
        typer.Option(
            "--deadline",
            metavar="TIME|none|now",
            envvar="IONETCTL_DEADLINE",
            help="When what is left is stopped: 1h, 90m, 45s; none: never, now: at once.",
        ),
    ] = "1h",
    no_wait: Annotated[
        bool,
        typer.Option(
            "--no-wait",
            envvar="IONETCTL_NO_WAIT",
            help="Begin the drains alone; the region goes on by itself.",
        ),
    ] = False,
    ignore_system: Annotated[
        bool,
        typer.Option(
            "--ignore-system", envvar="IONETCTL_IGNORE_SYSTEM", help="Leave system jobs running there."
        ),
    ] = False,
    cancel: Annotated[
        bool,
        typer.Option(
            "--cancel",
            envvar="IONETCTL_CANCEL",
            help="End the drains instead; nodes are eligible again if they were before.",
        ),
    ] = False,
    lose_jobs: Annotated[
        bool,
        typer.Option(
            "--lose-jobs",
            envvar="IONETCTL_LOSE_JOBS",
            help="Also nodes that got jobs after the plan was made.",
        ),
    ] = False,
    reason: Reason = "",
) -> Act:
    """Move the jobs of nodes away, and keep new ones from them.

    The region moves them; what is left of them is shown until each node is drained.
    """

    def act(settings: Settings) -> NodeAction:
        from ionetctl.core.model.node import DrainSpec
        from ionetctl.maintenance.drains import CancelDrain, Drain, parse_deadline

        if cancel:
            return CancelDrain()
        spec = DrainSpec(parse_deadline(deadline), ignore_system)
        return Drain(settings.owner, reason, spec, waits=not no_wait, loses_jobs=lose_jobs)

    return act


def set_meta(*, pairs: Pairs) -> Act:
    """Set keys of nodes' dynamic metadata, until their clients lose their state.

    The plan says which keys the client's configuration has too: its values are what comes back then.
    """

    def act(_: Settings) -> NodeAction:
        from ionetctl.maintenance.meta_changes import SetMeta, parse_pairs

        return SetMeta(parse_pairs(pairs))

    return act


def unset_meta(*, keys: Keys) -> Act:
    """Remove keys from nodes' metadata, those of the client's configuration too.

    The plan says which keys the configuration has: they come back when a client loses its state.
    """

    def act(_: Settings) -> NodeAction:
        from ionetctl.maintenance.meta_changes import UnsetMeta, checked_key

        return UnsetMeta(tuple(checked_key(key) for key in keys))

    return act


def _rollout(
    act: Act,
    display: Display,
    context: typer.Context,
    *,
    inventory: options.InventoryFile = None,
    every: Annotated[
        bool, typer.Option("--all", envvar="IONETCTL_ALL", help="All nodes, where there is no --limit.")
    ] = False,
    check: options.Check = False,
    yes: options.Yes = False,
    canary: options.Canary = 1,
    batch_size: options.BatchSize = "10%",
    max_failures: options.MaxFailures = "5%",
    concurrency: options.Concurrency = 100,
    timeout: options.Timeout = 60.0,
    resume: options.Resume = False,
    rollout: options.RolloutId = None,
    retry_failed: options.RetryFailed = False,
    skip_failed: options.SkipFailed = False,
    report: options.Reports = None,
    limit: options.Limit = None,
    state_dir: options.StateDir = None,
) -> CommandResult:
    from ionetctl.app.change_nodes import change_nodes
    from ionetctl.app.known_fleet import CATALOG
    from ionetctl.cli.reports import parse_reports, report_rollout
    from ionetctl.cli.rollout_display import RolloutDisplay, can_ask, consent_needed
    from ionetctl.rollout.options import Goal, RetryFailed, RolloutOptions, Strategy

    settings = load_settings(state_dir)
    reports = parse_reports(report or [])
    change = act(settings)
    if limit is None and not every:
        raise UsageError("nodes_unchosen", "no nodes are chosen", "name them with --limit, or say --all")
    if inventory == CATALOG:
        inventory = f"./{CATALOG}"  # a file of that name
    wanted = RolloutOptions(
        inventory=inventory or CATALOG,
        limit=limit,
        goal=Goal.PLAN if check else Goal.ENROLL,
        strategy=Strategy.parse(canary, batch_size, max_failures),
        concurrency=concurrency,
        timeout_s=timeout,
        resume=resume,
        rollout=rollout,
        retry_failed=RetryFailed.parse(resume=resume, only=retry_failed, never=skip_failed),
        action=change.name,
        details=change.details,
        command=given_words(context, without={"resume", "rollout"}),
    )
    if not (yes or check or (inventory != "-" and can_ask(display.common, settings))):
        raise consent_needed()
    shown = RolloutDisplay(display, settings, asks=not yes, has_past=resume)
    summary = shown.run(change_nodes(change, wanted, settings, shown.sinks, shown.confirm))
    return shown.result(report_rollout(reports, summary))


_GIVEN: Final = 3
"""The parameters of ``_rollout`` that are no options."""


def _command(action: str, choose: Callable[..., Act]) -> Callable[..., NoReturn]:
    """The Typer command of an action: the parameters of ``choose``, then those of every rollout over nodes."""
    own = [*inspect.signature(choose, eval_str=True).parameters.values()]
    shared = [*inspect.signature(_rollout, eval_str=True).parameters.values()][_GIVEN:]

    def failed(failure: Failure, exit_code: ExitCode) -> object:
        from ionetctl.report.json import document
        from ionetctl.summary.rollout_summary import Summary

        return document(Summary(exit_code=exit_code, error=failure, action=action))

    def body(display: Display, context: typer.Context, **given: Any) -> CommandResult:  # noqa: ANN401  (what Typer parsed)
        act = choose(**{each.name: given.pop(each.name) for each in own})
        return _rollout(act, display, context, **given)

    first = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)
        for name, kind in (("display", Display), ("context", typer.Context))
    ]
    body.__name__, body.__doc__ = choose.__name__, choose.__doc__
    body.__signature__ = inspect.Signature([*first, *own, *shared])  # type: ignore[attr-defined]
    return command(failed)(body)


def register(app: Commands) -> None:
    """Add the commands of this module to the group ``nodes``."""
    app.command("exclude")(_command("exclude", exclude))
    app.command("include")(_command("include", include))
    app.command("drain")(_command("drain", drain))
    meta = Commands(no_args_is_help=True, help="Dynamic metadata of nodes: set and unset keys.")
    meta.command("set")(_command("set-meta", set_meta))
    meta.command("unset")(_command("unset-meta", unset_meta))
    app.add_typer(meta, name="meta")
