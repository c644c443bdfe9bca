"""What a preflight found, as people see it: by cause, by host, by rack."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console

from ionetctl.core.errors import ExitCode
from ionetctl.core.model.names import HostName
from ionetctl.core.model.outcome import Finding, Severity
from ionetctl.summary.rollout_summary import Summary, SurveySummary
from ionetctl.ui.findings import MAX_COLUMNS, by_cause, by_host, by_rack
from tests.support.preflights import preflight

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text


def shown(lines: Iterable[Text]) -> list[str]:
    console = Console(width=120, file=io.StringIO(), markup=False, color_system=None)
    with console.capture() as captured:
        for line in lines:
            console.print(line)
    return captured.get().splitlines()


TOTAL = "4 hosts looked at: 1 fit, 2 unfit; nothing was changed"


def test_by_cause_ends_with_what_keeps_hosts_out() -> None:
    """Waived ones first and with the site's words, then notes and warnings, then the causes."""
    assert shown(by_cause(preflight())) == [
        "waived  swap_on on 1 host",
        "  why    8192 MiB of swap",
        "  hosts  g1",
        "  said   we page to NVMe",
        "",
        "warn  pcie_width_low on 1 host",
        "  why    GPU 3 runs at x1",
        "  hosts  g1",
        "  do     look at the riser",
        "",
        "warn  mac_doubled on 1 host",
        "  why    it has the MAC of g1",
        "  hosts  g1",
        "",
        "failed  gpu_count_mismatch in survey, 1 host",
        "  why    7 GPUs seen, 8 promised",
        "  hosts  g2",
        "  do     reseat the card",
        "",
        "unreachable  connect_timeout in survey, 1 host",
        "  why    no answer within 10 s",
        "  hosts  h1",
        "  do     is it on?",
        "",
        TOTAL,
    ]


def test_by_host_names_each_with_what_it_has() -> None:
    """The worst finding first; an unreachable host has its reason instead."""
    assert shown(by_host(preflight())) == [
        "g1  rack a01  Ubuntu 24.04  8 x nvidia.rtx.4090.24gb  driver 550.54.15",
        "  warn  pcie_width_low  GPU 3 runs at x1",
        "  warn  mac_doubled  it has the MAC of g1",
        "  waived  swap_on  8192 MiB of swap",
        "         because  we page to NVMe",
        "g2  rack a01  Ubuntu 24.04  7 x nvidia.rtx.4090.24gb  driver 550.54.15",
        "  block  gpu_count_mismatch  7 GPUs seen, 8 promised",
        "h1  rack b07",
        "  unreachable  connect_timeout  no answer within 10 s",
        "h2",
        TOTAL,
    ]


def test_by_rack_is_a_matrix() -> None:
    """A row for each rack, a column for each finding, the worst one leftmost, with a legend."""
    assert shown(by_rack(preflight())) == [
        "RACK  HOSTS  FIT  A  B  C  D",
        "a01       2    1  1  1  1  1",
        "b07       1    0  ·  ·  ·  ·",
        "-         1    1  ·  ·  ·  ·",
        "",
        "  A  block  gpu_count_mismatch",
        "  B  warn  mac_doubled",
        "  C  warn  pcie_width_low",
        "  D  waived  swap_on",
        TOTAL,
    ]


def test_by_rack_has_letters_for_the_worst_only() -> None:
    """Beyond the alphabet the least findings have no column."""
    findings = tuple(
        Finding(f"c{number:02}", Severity.BLOCK if number == 40 else Severity.INFO, "m", "")
        for number in range(41)
    )
    summary = Summary(exit_code=ExitCode.OK, surveys={HostName("g1"): SurveySummary("a01", findings)})
    legend = [line for line in shown(by_rack(summary)) if line.startswith("  ")]
    assert (len(legend), legend[0], legend[-1]) == (MAX_COLUMNS, "  A  block  c40", "  Z  info  c24")
