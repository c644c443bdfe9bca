"""The program that surveys a host and then probes its GPUs, on real shells."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ionetctl.core.errors import HostUnreachableError
from ionetctl.facts.gpu_output import parse_probe
from ionetctl.facts.survey_output import parse_survey, parted
from ionetctl.remote import survey_and_probe_script
from tests.remote.rehearsal import shim

if TYPE_CHECKING:
    from ionetctl.remote import Gpus
    from tests.remote.rehearsal import Host

NONCE = "n0nce"


def asked(
    host: Host, gpus: Gpus = "possible", script: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    """What the host prints and how it ends."""
    program = survey_and_probe_script(gpus=gpus) if script is None else script
    return subprocess.run(
        host.argv("-s", "--", NONCE, "-"),
        input=program,
        capture_output=True,
        env=host.environ(),
        check=False,
        timeout=60,
    )


def add_card(host: Host) -> None:
    """A device on the bus which is NVIDIA's, and displays."""
    host.write("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    host.write("/sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n")


def test_a_host_with_a_card_is_surveyed_and_probed(host: Host) -> None:
    """Both outputs are whole, and the time of the second is told."""
    add_card(host)
    shim(
        host,
        "python3",
        'cat >/dev/null; sleep 0.3; printf \'nvml\\t{"took_ms":1,"devices_on_bus":1,"gpus":[]}\\n\'',
    )
    run = asked(host)
    survey, probe, took_s = parted(run.stdout, NONCE)
    assert (run.returncode, run.stderr) == (0, b"")
    assert parse_survey(survey, NONCE, controller_time=0).machine.gpus_on_bus == 1
    assert parse_probe(probe, NONCE).source == "nvml"
    assert took_s >= 0.2


@pytest.mark.parametrize(("gpus", "is_probed"), [("possible", False), ("promised", True)])
def test_a_host_without_a_card_is_probed_where_one_is_promised(
    one_host: Host, gpus: Gpus, *, is_probed: bool
) -> None:
    """A virtual machine may have GPUs that its bus does not show."""
    one_host.path("/sys/bus/pci/devices").mkdir(parents=True)
    survey, probe, _ = parted(asked(one_host, gpus).stdout, NONCE)
    assert parse_survey(survey, NONCE, controller_time=0).machine.gpus_on_bus == 0
    assert (b"ionet-probe-end" in probe) == is_probed


def test_where_the_bus_is_unknown_a_host_is_probed(one_host: Host) -> None:
    """Nothing is known of its devices, so there may be some."""
    _, probe, _ = parted(asked(one_host).stdout, NONCE)
    assert parse_probe(probe, NONCE).gpus is None


def test_a_torn_program_does_nothing(host: Host) -> None:
    """Wherever it is cut: all of it is read before any of it runs."""
    whole = survey_and_probe_script(gpus="promised")
    for end in (len(whole) - 8, len(whole) - 400, len(whole) // 2):
        assert asked(host, script=whole[:end]).stdout == b""


def test_a_survey_that_fails_is_not_followed_by_a_probe(one_host: Host) -> None:
    """Its status is that of the whole."""
    broken = survey_and_probe_script(gpus="promised").replace(b'survey "$@" </dev/null', b"exit 3")
    run = asked(one_host, script=broken)
    assert (run.returncode, run.stdout) == (3, b"")
    with pytest.raises(HostUnreachableError, match="survey's output is not whole"):
        parse_survey(parted(run.stdout, NONCE)[0], NONCE, controller_time=0)
