"""One poll of all nodes of a region, and every GPU's UUID compared with what a probe found. A server of recorded answers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ionetctl.core.model.host import GpuPromise
from ionetctl.core.model.inventory import Issuer, ReadyPair, RegionSettings, RegionTls
from ionetctl.core.model.secret import SecretRef
from ionetctl.core.observed import SeenGpu
from ionetctl.nomad import NomadRegion
from ionetctl.verification import gpu_evidence
from tests.bench.bench import ROOT
from tests.bench.programs.region_server import GPUS, gpu_id
from tests.bench.records import Figure, Row, Sample
from tests.support.region_server import EU, SERVER_NAME, TOKEN
from tests.support.sample import BARE, HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ionetctl.core.model.facts import Facts
    from tests.bench.bench import Bench
    from tests.bench.records import Finding

NAME: Final = "region"
TITLE: Final = "Region polls"
_START_S: Final = 60.0
_MODEL: Final = "NVIDIA GeForce RTX 4090"


def measure(bench: Bench) -> Iterator[Finding]:
    """The poll alone, with devices, and with every UUID compared."""
    count = bench.sizes.nodes
    directory = bench.directory("region")
    command = [sys.executable, "-m", "tests.bench.programs.region_server", str(directory), str(count)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        _wait_for(directory / "url", process)
        polls = asyncio.run(_poll(directory, count, bench.sizes.rounds))
    finally:
        process.terminate()
        process.wait()
    floor = Row(f"{count:,} nodes", "NomadRegion.nodes(filter)", polls["plain"], count)
    yield floor
    yield Row(
        "the same with devices", "NomadRegion.nodes(…, with_devices=True)", polls["devices"], count, floor
    )
    compared = Row(
        f"with devices, {count * GPUS:,} UUIDs compared",
        "… and gpu_evidence.shortfall",
        polls["gpus"],
        count,
        floor,
    )
    yield compared
    detail = f"CPU of this side, {count:,} nodes"
    yield Figure("poll", floor.cpu_s, detail)
    yield Figure("poll-gpus", compared.cpu_s, detail)


async def _poll(directory: Path, count: int, rounds: int) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {"plain": [], "devices": [], "gpus": []}
    host = replace(HOST, gpus=GpuPromise("rtx-4090", GPUS))
    facts = {f"rey1-g{index:05}": _facts(index) for index in range(count)}
    async with NomadRegion.open(_settings(directory), lambda ref: _revealed(directory, ref)) as region:
        for number in range(rounds + 1):
            for kind, samples in found.items():
                cpu_s, wall_s = time.process_time(), time.monotonic()
                views = await region.nodes('Meta["x"] matches "y"', with_devices=kind != "plain")
                if kind == "gpus":
                    wrong = [gpu_evidence.shortfall(host, view, facts[view.name]) for view in views]
                    assert not any(wrong), next(filter(None, wrong))
                assert len(views) == count
                if number:  # the first round connects, and has the server compress its pages
                    samples.append(Sample(time.process_time() - cpu_s, time.monotonic() - wall_s))
    return found


def _facts(index: int) -> Facts:
    return replace(BARE, gpus=tuple(SeenGpu(card, _MODEL, gpu_id(index, card)) for card in range(GPUS)))


def _settings(directory: Path) -> RegionSettings:
    """The settings of the server's region; its files lie in ``directory``."""
    key = SecretRef("file", str(directory / "cli-key.pem"))
    issuer = Issuer(str(directory / "ca.pem"), key)
    client = ReadyPair(str(directory / "cli.pem"), key)
    tls = RegionTls(str(directory / "ca.pem"), SERVER_NAME, client, issuer)
    url = (directory / "url").read_text()
    return RegionSettings(EU, (url,), ("127.0.0.1:4647",), SecretRef("env", "TOKEN"), tls)


def _revealed(directory: Path, ref: SecretRef) -> str:
    return TOKEN if ref.source == "env" else (directory / "cli-key.pem").read_text()


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_S
    while not path.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the region's server does not start")
        time.sleep(0.05)
