"""An inventory of many hosts: loading it beside what PyYAML alone takes, and the whole commands of an admin."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import yaml

from ionetctl.inventory.load import load_text
from tests.bench.bench import ROOT
from tests.bench.records import Figure, Row, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.bench import Bench
    from tests.bench.records import Finding

NAME: Final = "inventory"
TITLE: Final = "Large inventories"
_HOSTS_A_RACK: Final = 100


def measure(bench: Bench) -> Iterator[Finding]:
    """Two ways to write the same hosts, in this process, then ``inventory validate`` and ``inventory show``."""
    hosts, rounds = bench.sizes.inventory, bench.sizes.rounds
    written = _head() + _spelled_out(hosts)
    floor = Row(
        f"PyYAML alone, {hosts:,} hosts spelled out",
        "yaml.load(…, CSafeLoader)",
        [_timed(lambda: yaml.load(written, Loader=yaml.CSafeLoader)) for _ in range(rounds)],
        hosts,
    )
    yield floor
    for name, text in (("spelled out", written), ("as ranges", _head() + _as_ranges(hosts))):
        samples = [
            _timed(lambda text=text: load_text(text.encode(), "bench", "/"))  # type: ignore[misc]
            for _ in range(rounds)
        ]
        yield Row(f"load, {name}", "ionetctl.inventory.load", samples, hosts, floor)
    path = bench.directory("inventory") / "site.yaml"
    path.write_text(written)
    admin = bench.admin()
    commands = {
        "validate": ("inventory", "validate", str(path)),
        "select one rack": ("inventory", "show", str(path), "--limit", "rack:r000", "-o", "json"),
    }
    for name, arguments in commands.items():
        found = [bench.run(*bench.ionetctl, *arguments, environ=admin).sample for _ in range(rounds)]
        shown = f"ionetctl {' '.join(arguments).replace(str(path), 'site.yaml')}"
        row = Row(f"{name}, whole command", shown, found, hosts, floor)
        yield row
        if name == "validate":
            detail = f"CPU of `inventory validate`, {hosts:,} hosts spelled out"
            yield Figure("inventory", row.cpu_s, detail)


def _head() -> str:
    base = (ROOT / "tests/inventory/cases/base.yaml").read_text()
    return f"{base}defaults: {{region: eu}}\nhosts:\n"


def _spelled_out(hosts: int) -> str:
    """Everything of each host: some 150 bytes."""
    return "".join(
        f"  - {{name: rey1-a{index:05}, address: 10.{index >> 16}.{index >> 8 & 255}.{index & 255}, "
        f"rack: r{index // _HOSTS_A_RACK:03}, ssh: {{port: 2222}}, "
        f"gpus: {{model: rtx-4090, count: 8}}, meta: {{slot: '{index}'}}}}\n"
        for index in range(hosts)
    )


def _as_ranges(hosts: int) -> str:
    """The same in racks of 100."""
    return "".join(
        f"  - {{name: 'rey1-r{rack:03}-g[001-100]', address: '10.0.{rack}.[1-100]', rack: r{rack:03}, "
        f"meta: {{slot: '[1-100]'}}}}\n"
        for rack in range(hosts // _HOSTS_A_RACK)
    )


def _timed(work: Callable[[], object]) -> Sample:
    cpu_s, wall_s = time.process_time(), time.monotonic()
    work()
    return Sample(time.process_time() - cpu_s, time.monotonic() - wall_s)
