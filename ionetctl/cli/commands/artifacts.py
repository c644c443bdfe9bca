"""``ionetctl artifacts``: the local cache of releases, for air-gapped sites too."""

from __future__ import annotations

import os
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ionetctl.cli import options
from ionetctl.cli.output import CommandResult, Display, failure_of
from ionetctl.cli.run import Commands, command, load_settings
from ionetctl.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from rich.text import Text

    from ionetctl.artifacts import CachedArtifact, Progress
    from ionetctl.core.errors import IonetctlError

app = Commands(no_args_is_help=True, help="Release artifacts in the local cache: fetch, verify, list.")

SCHEMA = "ionetctl.artifacts/1"


class ArchitectureChoice(StrEnum):
    """Architectures that hosts have."""

    AMD64 = "amd64"
    ARM64 = "arm64"


@app.command()
@command()
def fetch(
    display: Display,
    *,
    inventory: options.Inventory,
    architecture: Annotated[
        list[ArchitectureChoice] | None,
        typer.Option(
            "--arch",
            envvar="IONETCTL_ARCH",
            help="Fetch for this architecture only. May be given several times; amd64 where left out.",
        ),
    ] = None,
    artifacts: options.Artifacts = None,
) -> CommandResult:
    """Download the releases that an inventory pins, check them, cache them and write the lock file beside it.

    They are compressed for hosts too, so that no rollout has to wait for that: about two minutes for a release.
    """
    import asyncio

    from ionetctl.app.open_inventory import open_store, releases
    from ionetctl.inventory.load import load_inventory

    site = load_inventory(inventory)
    store = open_store(site, load_settings(), artifacts)
    needs = releases(site, site.hosts, architecture or [ArchitectureChoice.AMD64])
    asyncio.run(store.pack_all(needs, _progress_reporter(display)))
    return _result([artifact for artifact in store.cached() if artifact.key in needs])


@app.command()
@command()
def verify(_: Display, *, inventory: options.Inventory) -> CommandResult:
    """Hash every cached artifact again and hold it against the inventory's lock file."""
    import asyncio

    from ionetctl.app.open_inventory import open_store
    from ionetctl.inventory.load import load_inventory

    store = open_store(load_inventory(inventory), load_settings(), None)
    found = asyncio.run(store.verify())
    problems = {check.artifact.directory: check.problem for check in found if check.problem is not None}
    exit_code = max((problem.exit_code for problem in problems.values()), default=ExitCode.OK)
    return replace(_result([check.artifact for check in found], problems), exit_code=exit_code)


@app.command("list")
@command()
def list_artifacts(_: Display) -> CommandResult:
    """List what the cache holds; nothing is checked."""
    from pathlib import Path

    from ionetctl.artifacts import ArtifactStore

    return _result(ArtifactStore(load_settings().cache_dir, None, Path(os.devnull)).cached())


def _result(
    artifacts: Sequence[CachedArtifact], problems: Mapping[Path, IonetctlError] | None = None
) -> CommandResult:
    rows = [_row(artifact, (problems or {}).get(artifact.directory)) for artifact in artifacts]
    return CommandResult({"schema": SCHEMA, "artifacts": rows}, rows, lambda: _view(rows))


def _row(artifact: CachedArtifact, problem: IonetctlError | None) -> dict[str, Any]:
    from ionetctl.report.json import failure

    return {
        "name": artifact.key.name,
        "version": artifact.key.version,
        "architecture": artifact.key.architecture,
        "zip_sha256": artifact.zip_digest,
        "directory": str(artifact.directory),
        "error": failure(failure_of(problem)[0] if problem else None),
    }


def _view(rows: Sequence[dict[str, Any]]) -> Iterable[Text | str]:
    from ionetctl.ui.tables import table

    if not rows:
        return ["the cache is empty"]
    cells = [
        [
            row["name"],
            row["version"],
            row["architecture"],
            row["zip_sha256"],
            row["error"]["message"] if row["error"] else "",
        ]
        for row in rows
    ]
    return table(["artifact", "version", "arch", "sha256 of the zip", "problem"], cells)


def _progress_reporter(display: Display) -> Callable[[Progress], None]:
    """A function that reports each tenth of a download or of a compression once."""
    reported: dict[str, int] = {}

    def report(progress: Progress) -> None:
        if not progress.total_bytes:
            return
        tenth = 10 * progress.done_bytes // progress.total_bytes
        what = f"{progress.key}, compressed by {progress.form}" if progress.form else str(progress.key)
        if reported.get(what) != tenth:
            reported[what] = tenth
            display.info(f"{what}: {tenth * 10} % of {progress.total_bytes / 1e6:.1f} MB")

    return report
