"""Codes about what the host works for already."""

from __future__ import annotations

from typing import Final

from ionetctl.checks.catalogue.row import Row
from ionetctl.core.model.outcome import Severity

ROWS: Final = (
    Row(
        "foreign_nomad",
        Severity.BLOCK,
        "a Nomad agent that ionetctl did not install runs there",
        "Nomad's processes and service, and whether the files are ours.",
        "It works for somebody: replacing it ends its jobs. Their number is told.",
        "stop and disable it, or let ionetctl replace it with --takeover (its configuration is kept aside)",
        may_be_waived=False,
    ),
    Row(
        "miner_running",
        Severity.BLOCK,
        "a miner runs",
        "Processes and services by the names of known miners.",
        "It takes the cards that jobs are paid for: jobs run out of memory or at a fraction of their speed.",
        "stop and disable the miner, or prepare: {stop_miner: true}, which can be undone",
        mended_by="stop_miner",
    ),
    Row(
        "mining_os",
        Severity.WARN,
        "the system is made for mining",
        "What HiveOS, minerstat, RaveOS, SimpleMining and mmpOS leave on a disk.",
        "Their watchdogs start miners again, set power limits and clocks, and reboot a rig that does not mine.",
        "install a plain Ubuntu or Debian, or take the host out of the farm and disable its agent",
    ),
    Row(
        "ionet_worker_present",
        Severity.WARN,
        "an io.net worker of another kind runs",
        "io.net's own launchers and containers (io-worker…, io-launch…).",
        "The same cards would be offered twice.",
        "retire the worker in io.net's console, then stop its containers and launcher",
    ),
    Row(
        "gpu_busy",
        Severity.WARN,
        "unknown programs compute on the GPUs",
        "The compute processes of each card, but for known miners and workers; quiet where our own Nomad runs jobs.",
        "Somebody uses the cards: a miner under another name, or a user of the host.",
        "nvidia-smi shows the processes; end what is not needed",
    ),
    Row(
        "interrupted",
        Severity.INFO,
        "an earlier enrolment of the host was cut off",
        "The mark that an apply leaves between its first change and its last.",
        "Nothing is lost: an apply looks before it acts, and completes what was begun.",
        "nothing to do: this one completes it",
    ),
)
