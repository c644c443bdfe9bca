"""Codes about GPUs: against what was promised, and their health."""

from __future__ import annotations

from typing import Final

from ionetctl.checks.catalogue.row import Row
from ionetctl.core.model.outcome import Severity

ROWS: Final = (
    Row(
        "gpu_unknown",
        Severity.WARN,
        "GPUs are promised, and nothing on the host can count them",
        "Whether NVML, nvidia-smi or the PCI bus could say how many GPUs there are. Where the driver is at fault, its "
        "own finding takes the place of this one.",
        "Whether the promise holds shows only in the region, after the enrolment.",
        "install the NVIDIA driver; nvidia-smi must list the cards",
    ),
    Row(
        "gpu_count_mismatch",
        Severity.BLOCK,
        "another number of GPUs than promised",
        "What the probe counts against gpus.count.",
        "A lost card is the commonest fault of a rig: after the next restart of the agent, one lost card hides all of "
        "them from the region.",
        "reseat the lost card and look at dmesg, or correct gpus.count",
    ),
    Row(
        "gpu_model_mismatch",
        Severity.BLOCK,
        "other GPUs than promised",
        "The names that NVML gives against gpus.model.",
        "Jobs are placed and paid by model.",
        "correct gpus.model, or give the host a group of its own",
    ),
    Row(
        "reserved_gpu_unknown",
        Severity.BLOCK,
        "reserve.gpus names a GPU that the host does not have",
        "reserve.gpus against indices and UUIDs of the cards that were seen.",
        "The card that the site wants to keep for itself would be given to jobs.",
        "name GPUs by the index or UUID that nvidia-smi -L prints",
    ),
    Row(
        "gpu_lost",
        Severity.BLOCK,
        "a card does not answer any more",
        "Cards that NVML calls lost, and cards on the PCI bus that it does not list. A warning for gpus: {count: 0}.",
        "Nomad's plugin goes on listing a card that was lost while it ran, and after a restart shows none at all.",
        "reboot the host; if it stays, reseat the card, its riser and its power",
    ),
    Row(
        "gpu_fell_off_bus",
        Severity.BLOCK,
        "a card fell off its bus since the last boot",
        "Xid 79 in this boot's kernel log. A warning for gpus: {count: 0}.",
        "The card stays away until the next boot, and whatever used it hangs. Risers, power and heat are the causes.",
        "reboot, reseat card and riser, look at power and cooling",
    ),
    Row(
        "gpu_xid",
        Severity.WARN,
        "the driver reported errors of a card",
        "Other Xids in this boot's kernel log. Those that point at hardware (48, 62, 63, 64, 74, 92, 94, 95, 119, 120, "
        "140) are warnings; the others (13, 31, 43 …), which a faulty program causes too, are information.",
        "NVIDIA's list of Xids says what each means; memory errors and firmware that stopped do not mend themselves.",
        "look up the number in NVIDIA's list of Xids; reset or replace the card",
    ),
    Row(
        "gpu_ecc_errors",
        Severity.WARN,
        "a card had memory errors that ECC could not correct",
        "The card's count of uncorrected ECC errors over its life.",
        "Each of them ended a job.",
        "watch the count; replace the card if it grows",
    ),
    Row(
        "gpu_memory_retired",
        Severity.WARN,
        "parts of a card's memory are out of use",
        "Retired pages, and rows remapped after uncorrected errors.",
        "The card works. Many of them announce its end: NVIDIA replaces cards from 60 pages or eight rows of a bank on.",
        "watch the count; ask the vendor for a replacement if it grows",
    ),
    Row(
        "gpu_remap_pending",
        Severity.WARN,
        "a repair of a card's memory waits for a reset",
        "Pages to be retired, or rows to be remapped, that are pending.",
        "Until the card is reset the bad memory stays in use.",
        "nvidia-smi --gpu-reset, or reboot the host",
    ),
    Row(
        "gpu_remap_failed",
        Severity.BLOCK,
        "a card's memory could not be repaired",
        "The row remapper's failure flag.",
        "There are no spare rows left: jobs would meet wrong or lost memory.",
        "replace the card, or hold it back with reserve.gpus",
    ),
    Row(
        "pcie_width_low",
        Severity.WARN,
        "a card runs on fewer PCIe lanes than it could",
        "The link's width now against the most that card and slot can. The generation is left out: idle cards lower it.",
        "Mining risers have one lane. What computes within the card is as fast as ever; loading models and several "
        "cards at once are many times slower.",
        "put the card into a full slot, or waive this where risers are meant",
    ),
    Row(
        "gpu_hot",
        Severity.WARN,
        "a card is so hot that it slows down",
        "Its temperature against the one at which it slows down, else 90 °C.",
        "It computes more slowly than its name says, and ages.",
        "clean fans and filters, look at the airflow, renew the paste",
    ),
    Row(
        "gpu_power_limited",
        Severity.WARN,
        "a card's power limit is set below its default",
        "The power limit against the default; from 90 % on it is left alone.",
        "Miners lower it to save power. The card then computes more slowly than its name says.",
        "nvidia-smi --power-limit with the default, and take it out of the miner's start-up scripts",
    ),
    Row(
        "mig_on",
        Severity.INFO,
        "cards are split into MIG instances",
        "The MIG mode of each card, and its instances.",
        "The region sees the instances in place of the card: jobs that ask for a whole card are not placed on it.",
        "nvidia-smi mig -lgi lists the instances; nvidia-smi -mig 0 gives the whole card back",
    ),
    Row(
        "mig_empty",
        Severity.WARN,
        "a card is in MIG mode and has no instance",
        "The MIG mode of each card, and its instances.",
        "The device plugin lists instances in place of the card: this one it does not show at all.",
        "nvidia-smi mig -cgi … -C makes instances; nvidia-smi -mig 0 gives the whole card back",
    ),
    Row(
        "mig_mixed",
        Severity.WARN,
        "some cards are split by MIG and others are not",
        "The MIG mode of all cards of the host.",
        "Jobs that ask for whole cards and jobs that ask for instances both come here; counts per host are hard to read.",
        "split all cards alike, or waive this where it is meant",
    ),
    Row(
        "display_in_use",
        Severity.INFO,
        "a card drives a display",
        "Whether a display is active on the card.",
        "The desktop takes memory and time of the card, and jobs that fill it may end the desktop.",
        "systemctl set-default multi-user.target, or hold the card back with reserve.gpus",
    ),
    Row(
        "fabric_not_ready",
        Severity.BLOCK,
        "the cards' NVLink fabric is not ready",
        "The fabric state of each card that has one. A warning where the host has a single card or gpus: {count: 0}.",
        "On machines with NVSwitch CUDA starts on no card before the fabric manager has trained the fabric.",
        "systemctl enable --now nvidia-fabricmanager, of the driver's very version",
    ),
    Row(
        "nvlink_down",
        Severity.WARN,
        "NVLinks of a card are down",
        "Active NVLinks against those that the card has. A host without any active link has no bridge: that is no fault.",
        "Transfers between cards are slower, and jobs over several cards with them.",
        "reseat the bridge; nvidia-smi nvlink --status shows which link it is",
    ),
)
