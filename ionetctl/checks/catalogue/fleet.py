"""Codes that need the whole fleet, or the region's nodes."""

from __future__ import annotations

from typing import Final

from ionetctl.checks.catalogue.row import Row
from ionetctl.core.errors import ExitCode
from ionetctl.core.model.outcome import Severity

ROWS: Final = (
    Row(
        "client_id_cloned",
        Severity.BLOCK,
        "two hosts have one Nomad client id",
        "The client-id files of all surveyed hosts.",
        "Both would take turns being one node of the region.",
        "images must not carry /opt/nomad/data/client: stop Nomad, delete it on all but one",
        exit_code=ExitCode.TRUST,
        may_be_waived=False,
    ),
    Row(
        "machine_id_doubled",
        Severity.BLOCK,
        "two hosts have one machine-id",
        "/etc/machine-id of all surveyed hosts.",
        "It is one machine under two addresses, or a cloned image. Unique names are made from it.",
        "two addresses of one machine, or a cloned image: systemd-machine-id-setup makes a new one",
        exit_code=ExitCode.TRUST,
        may_be_waived=False,
    ),
    Row(
        "gpu_doubled",
        Severity.BLOCK,
        "two hosts have one GPU",
        "The UUIDs of all GPUs that were seen.",
        "A card is in one machine only: it is one machine under two addresses, or somebody counts cards twice.",
        "leave out one of the hosts",
        exit_code=ExitCode.TRUST,
        may_be_waived=False,
    ),
    Row(
        "mac_doubled",
        Severity.WARN,
        "two hosts have one MAC address",
        "The addresses of physical interfaces.",
        "In one network both lose packets by turns. Cloned virtual machines and cheap adapters have them.",
        "give each its own address; it does no harm in networks apart",
    ),
    Row(
        "hostname_doubled",
        Severity.WARN,
        "two hosts call themselves by one name",
        "The host names that the machines give themselves; what the inventory calls them is another matter.",
        "Logs and metrics of both run together. Often the sign of a cloned image.",
        "hostnamectl set-hostname",
    ),
    Row(
        "address_doubled",
        Severity.WARN,
        "two hosts of a datacenter have one address",
        "The address from which each host connects to the region's servers.",
        "In one network only one of them can be reached; what connects to it may reach the other.",
        "give each its own address; waive this where they are in networks apart",
    ),
    Row(
        "name_taken",
        Severity.BLOCK,
        "another node of the region bears the host's name",
        "The names of the region's nodes, against the name that this one will have.",
        "Nomad allows it, and nobody could tell the two apart any more.",
        "rename the host, set naming: unique, or purge the old node if it was this machine",
        may_be_waived=False,
    ),
    Row(
        "clock_apart",
        Severity.WARN,
        "the host's clock differs from those of the other hosts",
        "The offset of its clock against the fleet's median, where at least three hosts told theirs: from 30 s on.",
        "Where the controller's own clock is wrong, all hosts seem to be off; this names those that really are.",
        "set the clock and keep it by NTP (timedatectl set-ntp true)",
    ),
    Row(
        "nat_connections",
        Severity.WARN,
        "more hosts behind one address than the region allows",
        "Hosts of a datacenter with private addresses that reach public servers, against the region's "
        "limits.rpc_max_conns_per_client (100 unless it says otherwise).",
        "Behind NAT all of them come from one address: the servers cut off those beyond the limit, others at each try.",
        "raise limits { rpc_max_conns_per_client } on the region's servers, or give the site more addresses",
    ),
)
