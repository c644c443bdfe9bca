"""The GPU probe, really run under every shell against the NVML stand-in: what it says, survives, and leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ionetctl.core.observed import GpuProcess, PcieLink
from ionetctl.facts.gpu_output import parse_probe
from ionetctl.remote import probe_program
from tests.e2e.waiting import wait_until
from tests.nvml.library import NVIDIA_SMI, build_nvml
from tests.remote.probing import NONCE, ProbedHost, make_probed_host
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = Path(__file__).parent / "probe"
DIALECTS = Path(__file__).parents[1] / "data" / "cases"
SHELLS = ("dash", "bash", "busybox")
CARD = "GPU-11111111-1111-1111-1111-111111111111\tNVIDIA GeForce RTX 4090\t00000000:01:00.0\t24564"
OTHER = "GPU-22222222-2222-2222-2222-222222222222\tNVIDIA GeForce RTX 4090\t00000000:C1:00.0\t24564"
DEADLINE_S = 1.0


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with the stand-in for drivers of every age, and one without any driver."""
    needs("cc")
    places = {age: tmp_path_factory.mktemp(age) for age in ("new", "old", "ancient", "missing")}
    build_nvml(places["new"])
    build_nvml(places["old"], "-DOLD_DRIVER")
    build_nvml(places["ancient"], "-DANCIENT_DRIVER")
    return places


@pytest.fixture(params=SHELLS)
def host(request: pytest.FixtureRequest, tmp_path: Path, libraries: dict[str, Path]) -> Iterator[ProbedHost]:
    needs(request.param)
    made = make_probed_host(tmp_path / "host root", request.param, libraries["new"])
    yield made
    made.end_left_behind()


@pytest.fixture
def one_host(tmp_path: Path, libraries: dict[str, Path]) -> Iterator[ProbedHost]:
    """A host whose ``sh`` is whatever is at hand: for what does not depend on the shell."""
    shell = next(name for name in ("dash", "bash") if shutil.which(name))
    made = make_probed_host(tmp_path / "host root", shell, libraries["new"])
    yield made
    made.end_left_behind()


def plain(host: ProbedHost) -> dict[str, Any]:
    """A reading as its golden case has it: without what it took, and without what is unknown."""
    said: dict[str, Any] = json.loads(json.dumps(asdict(replace(host.reading(), took_ms=None))))
    return {"gpus": None, **known(said)}


def known(value: Any) -> Any:
    if isinstance(value, list):
        return [known(each) for each in value]
    if isinstance(value, dict):
        kept = {key: known(each) for key, each in value.items() if each is not None}
        return {key: each for key, each in kept.items() if each != {}}
    return value


@pytest.mark.parametrize("case", sorted(CASES.glob("*.conf")), ids=lambda path: path.stem)
def test_golden_cases(one_host: ProbedHost, libraries: dict[str, Path], case: Path) -> None:
    """What the driver has, question for question, is what the reading says; the name begins with the driver's age."""
    one_host.libraries = libraries[case.stem.partition("-")[0]]
    shutil.copy(case, one_host.conf)
    expected = json.loads(case.with_suffix(".json").read_text())
    assert plain(one_host) == expected


def test_two_probes_say_the_same_and_change_nothing(host: ProbedHost) -> None:
    """A probe is a look: the second one sees what the first saw, and the host has no file more."""
    host.cards(CARD, OTHER)
    before = host.tree()
    first, second = plain(host), plain(host)
    assert (first, host.tree()) == (second, before)
    assert [gpu["index"] for gpu in first["gpus"]] == [0, 1]


def test_the_channel_closes_while_the_driver_hangs(host: ProbedHost) -> None:
    """A process that nothing ends is left behind with no file of ours, and what hangs is named."""
    host.environment["IONET_PROBE_DEADLINE_S"] = str(int(2 * DEADLINE_S))
    host.cards(CARD, OTHER, "+nvmlDeviceGetEccMode\tstuck")
    reading = host.reading()
    assert (reading.gpus, reading.is_hanging) == (None, True)
    assert reading.source == "the driver hangs: no answer to nvmlDeviceGetEccMode of GPU 1"
    # The channel has closed; on a busy machine the other process may need a moment to be gone.
    wait_until(lambda: len(host.left_behind()) == 1, "one process left behind")


def test_many_cards_that_wake_slowly_are_no_hang(one_host: ProbedHost) -> None:
    """The deadline is for one answer: without persistence mode each card takes its time to wake."""
    one_host.environment["IONET_PROBE_DEADLINE_S"] = str(int(DEADLINE_S))
    one_host.cards(*[CARD, "+nvmlDeviceGetHandleByIndex\tslow 400"] * 4)
    reading = one_host.reading()
    assert (len(reading.gpus or ()), reading.is_hanging) == (4, False)
    assert (reading.took_ms or 0) > 1000 * DEADLINE_S


def test_answers_without_end_are_a_hang(one_host: ProbedHost) -> None:
    """All of them together have a deadline too, four times as long as that of one."""
    one_host.environment["IONET_PROBE_DEADLINE_S"] = str(int(DEADLINE_S))
    one_host.cards(*[CARD, "+nvmlDeviceGetHandleByIndex\tslow 500"] * 10)
    assert one_host.reading().is_hanging


def test_what_hangs_and_heeds_signals_is_not_left_behind(host: ProbedHost) -> None:
    """The control: a child that can be ended is."""
    host.environment["IONET_PROBE_DEADLINE_S"] = str(int(DEADLINE_S))
    host.cards("hang")
    assert host.reading().source == "the driver hangs: no answer to nvmlInit"
    deadline = time.monotonic() + 10
    while host.left_behind() and time.monotonic() < deadline:
        os.sched_yield()
    assert host.left_behind() == []


def test_a_driver_that_kills_the_probe_is_named_and_others_are_asked(host: ProbedHost) -> None:
    """The child may die in the driver; nvidia-smi is asked then."""
    host.cards(CARD, "+nvmlDeviceGetName\tdie")
    host.shim("nvidia-smi", f"exec /bin/sh {NVIDIA_SMI}")
    reading = host.reading()
    assert reading.source == "nvidia-smi (the probe died at nvmlDeviceGetName of GPU 0)"
    assert [(gpu.name, gpu.memory_mib) for gpu in reading.gpus or ()] == [("NVIDIA GeForce RTX 4090", 24564)]


# --- without Python --------------------------------------------------------------------------------------------------


def test_without_python_nvidia_smi_is_asked(host: ProbedHost) -> None:
    """Its rows name the cards, the program on standard input is taken and thrown away."""
    host.remove_python()
    host.cards(CARD, OTHER)
    host.shim("nvidia-smi", f"exec /bin/sh {NVIDIA_SMI}")
    reading = host.reading()
    assert reading.source == "nvidia-smi (no python3)"
    assert [(gpu.index, gpu.pci_bus_id) for gpu in reading.gpus or ()] == [
        (0, "00000000:01:00.0"),
        (1, "00000000:C1:00.0"),
    ]


def test_the_python_of_the_platform_will_do(host: ProbedHost) -> None:
    """Minimal systems of Red Hat's family have one that is not on the PATH."""
    (host.programs / "python3").rename(host.write("usr/libexec/platform-python", ""))
    host.cards(CARD)
    assert host.reading().source == "nvml"


def test_without_python_and_nvidia_smi_nobody_counts(host: ProbedHost) -> None:
    """Nobody's silence is zero."""
    host.remove_python()
    assert host.reading() == parse_probe(framed("unknown\tno python3, and no nvidia-smi"), NONCE)


def test_devices_on_the_bus_are_told_where_nobody_counts(host: ProbedHost) -> None:
    """The kernel sees cards, and their sound functions that are none."""
    host.remove_python()
    host.bus("0000:01:00.0", "0000:c1:00.0")
    host.bus("0000:01:00.1", kind="0x040300")
    reading = host.reading()
    assert (reading.gpus, reading.source) == (
        None,
        "no python3, and no nvidia-smi, but NVIDIA devices on the PCI bus: 2",
    )


def test_an_empty_bus_is_zero_whoever_is_missing(host: ProbedHost) -> None:
    """Where the kernel sees none there is none, and nobody else is needed to say so."""
    host.remove_python()
    host.bus()
    reading = host.reading()
    assert (reading.gpus, reading.source) == ((), "pci")


def test_a_hanging_nvidia_smi_is_left_behind(host: ProbedHost) -> None:
    """The deadline holds without NVML too, although the program heeds no signal."""
    host.remove_python()
    host.environment["IONET_PROBE_DEADLINE_S"] = "0"
    host.shim("nvidia-smi", "trap '' TERM\nwhile :; do sleep 30; done")
    host.shim("timeout", 'shift 3\nexec "$@"')
    reading = host.reading()
    assert (reading.gpus, reading.is_hanging) == (None, True)
    assert reading.source == "the driver hangs: no answer to nvidia-smi"
    assert host.left_behind() != []


@pytest.mark.parametrize(
    ("script", "source"),
    [
        (
            "echo NVIDIA-SMI has failed; exit 9",
            "no python3, and nvidia-smi ended with 9: NVIDIA-SMI has failed",
        ),
        ("exit 137", "no python3, and nvidia-smi ended with 137:"),
        ("exit 0", "nvidia-smi (no python3)"),
        (
            "echo '0, A, GPU-1, 24564, 00000000:01:00.0'; echo 'GPU 1 is lost'; exit 15",
            "nvidia-smi (no python3), which ended with 15: GPU 1 is lost",
        ),
    ],
)
def test_nvidia_smi_is_taken_at_its_word(host: ProbedHost, script: str, source: str) -> None:
    """What it complains of stands in the source; a failure is never zero cards."""
    host.remove_python()
    host.shim("nvidia-smi", script)
    reading = host.reading()
    assert reading.source == source
    assert (reading.gpus is None) == ("source" not in source and not source.startswith("nvidia-smi"))


def test_an_nvidia_smi_that_hangs_after_some_cards_counts_none(host: ProbedHost) -> None:
    """Its rows count whole or not at all: those that are missing are not lost cards."""
    host.remove_python()
    host.environment["IONET_PROBE_DEADLINE_S"] = str(int(DEADLINE_S))
    host.shim("nvidia-smi", "echo '0, A, GPU-1, 24564, 00000000:01:00.0'; exec sleep 60")
    reading = host.reading()
    assert (reading.gpus, reading.source) == (None, "the driver hangs: no answer to nvidia-smi")


def test_the_clock_decides_what_hangs(host: ProbedHost) -> None:
    """Uutils' timeout has another exit status than GNU's for a program that it ended."""
    host.remove_python()
    host.environment["IONET_PROBE_DEADLINE_S"] = str(int(DEADLINE_S))
    host.shim("timeout", (DIALECTS / "uutils-timeout/timeout").read_text().partition("\n")[2])
    host.shim("nvidia-smi", "exec sleep 60")
    assert host.reading().source == "the driver hangs: no answer to nvidia-smi"


def test_a_card_that_nvidia_smi_cannot_name_is_lost(host: ProbedHost) -> None:
    """It stands in brackets, in words that differ: the card is there, and does not answer."""
    host.remove_python()
    host.write("rows.csv", (DIALECTS / "smi-brackets/rows.csv").read_text())
    host.shim("nvidia-smi", f"cat '{host.root}/rows.csv'")
    reading = host.reading()
    assert [(card.index, card.is_lost, card.memory_mib, card.pci_bus_id) for card in reading.gpus or ()] == [
        (0, False, 10240, "00000000:01:00.0"),
        (1, True, None, "00000000:02:00.0"),
    ]


@pytest.mark.parametrize("end", ["kill -9 $$", "exit 1"])
def test_an_answer_stands_once_where_python_fails_after_it_printed(host: ProbedHost, end: str) -> None:
    """NVML's record counts whole or not at all: nvidia-smi's are then the only ones."""
    host.shim("python3", f"printf 'nvml\\t{{}}\\n'; {end}")
    host.shim("nvidia-smi", "echo '0, A, GPU-1, 24564, 00000000:01:00.0'")
    reading = host.reading()
    status = 137 if "kill" in end else 1
    source = f"nvidia-smi (python3 ended with {status})"
    assert (len(reading.gpus or ()), reading.source) == (1, source)


def test_what_python_says_beside_its_answer_is_passed_over(host: ProbedHost) -> None:
    """A warning of the interpreter is no record."""
    host.cards(CARD)
    host.shim("python3", f'echo "Could not find platform libraries" >&2; exec {sys.executable} "$@"')
    assert host.reading().source == "nvml"


def test_an_empty_bus_explains_an_nvidia_smi_that_fails(host: ProbedHost) -> None:
    """A driver package without a card is no riddle."""
    host.remove_python()
    host.bus()
    host.shim("nvidia-smi", "echo NVIDIA-SMI has failed; exit 9")
    reading = host.reading()
    assert (reading.gpus, reading.source) == ((), "pci")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 127", "python3 ended with 127: "),
        ("echo 'No module named ctypes' >&2; exit 1", "python3 ended with 1: No module named ctypes"),
    ],
)
def test_a_broken_python_is_named(host: ProbedHost, script: str, why: str) -> None:
    """A python3 that cannot run the probe is as good as none."""
    host.shim("python3", script)
    assert host.reading().source == f"{why}, and no nvidia-smi"


# --- the driver and its library --------------------------------------------------------------------------------------


def test_without_the_library_nvidia_smi_is_asked(host: ProbedHost, libraries: dict[str, Path]) -> None:
    """A Python that cannot load NVML has nothing to say."""
    host.libraries = libraries["missing"]
    host.cards(CARD)
    host.shim("nvidia-smi", f"exec /bin/sh {NVIDIA_SMI}")
    reading = host.reading()
    assert reading.source == "nvidia-smi (libnvidia-ml.so.1 cannot be loaded)"
    assert len(reading.gpus or ()) == 1


def test_without_any_driver_nobody_counts(host: ProbedHost, libraries: dict[str, Path]) -> None:
    """Cards on the bus and no driver: unknown, with the reason."""
    host.libraries = libraries["missing"]
    host.bus("0000:01:00.0")
    reading = host.reading()
    expected = "libnvidia-ml.so.1 cannot be loaded, and no nvidia-smi, but NVIDIA devices on the PCI bus: 1"
    assert (reading.gpus, reading.source) == (None, expected)


def test_a_driver_that_is_not_loaded_is_no_zero(one_host: ProbedHost) -> None:
    """As long as the bus has cards, their number is unknown; where it has none, there are none."""
    one_host.cards("+nvmlInit\terror 9")
    one_host.bus()
    assert one_host.reading().gpus == ()
    one_host.bus("0000:01:00.0")
    reading = one_host.reading()
    assert (reading.gpus, reading.source) == (
        None,
        "the driver is not loaded (NVML_ERROR_DRIVER_NOT_LOADED); NVIDIA devices on the PCI bus: 1",
    )


# --- what only the kernel knows --------------------------------------------------------------------------------------


def test_a_lost_card_gets_the_address_that_nobody_else_has(one_host: ProbedHost) -> None:
    """NVML names no address of a card without a handle, the kernel still has it on its list."""
    one_host.cards(f"{CARD}\tlost", OTHER)
    one_host.bus("0000:01:00.0", "0000:c1:00.0")
    one_host.bus("0000:01:00.1", "0000:c1:00.1", kind="0x040300")
    gpus = one_host.reading().gpus or ()
    assert [(gpu.is_lost, gpu.pci_bus_id) for gpu in gpus] == [
        (True, "00000000:01:00.0"),
        (False, "00000000:C1:00.0"),
    ]


def test_a_lost_card_keeps_no_address_that_is_a_guess(one_host: ProbedHost) -> None:
    """Where the bus has more devices than cards are missing, nobody knows which is which."""
    one_host.cards(f"{CARD}\tlost", OTHER)
    one_host.bus("0000:01:00.0", "0000:02:00.0", "0000:c1:00.0")
    assert [gpu.pci_bus_id for gpu in one_host.reading().gpus or ()] == [None, "00000000:C1:00.0"]


@pytest.mark.parametrize(("width", "expected"), [("16", 16), ("1", 4), ("255", 4), ("Unknown", 4)])
def test_the_widest_link_is_the_card_s_own(one_host: ProbedHost, width: str, expected: int) -> None:
    """NVML may lower it to what the riser can do; the card's own capability says what it was built for."""
    one_host.cards(CARD, "+nvmlDeviceGetMaxPcieLinkWidth\t4")
    one_host.bus("0000:01:00.0", width=width)
    links = [gpu.link for gpu in one_host.reading().gpus or ()]
    assert links == [PcieLink(generation=1, generation_max=4, width=1, width_max=expected)]


def test_processes_are_named_by_the_kernel(one_host: ProbedHost) -> None:
    """The executable's name, its short name where that cannot be read, NVML's word where the process is not ours to see."""
    one_host.cards(CARD, "+nvmlDeviceGetComputeRunningProcesses\t71 1024 72 0 73 5")
    one_host.write("proc/71/comm", "renamed\n")
    (one_host.root / "proc/71/exe").symlink_to("/opt/miner/lolMiner (deleted)")
    one_host.write("proc/72/comm", "short-name\n")
    (gpu,) = one_host.reading().gpus or ()
    assert gpu.processes == (
        GpuProcess(71, "lolMiner", 1024),
        GpuProcess(72, "short-name", 0),
        GpuProcess(73, "t-rex", 5),
    )


# --- what may arrive -------------------------------------------------------------------------------------------------


def framed(*records: str) -> bytes:
    return "\n".join((f"ionet-probe\t1\t{NONCE}", *records, f"ionet-probe-end\t{NONCE}", "")).encode()


def test_a_torn_program_does_nothing(host: ProbedHost) -> None:
    """Without its last line the script is not run; half of the Python program is no program."""
    whole = probe_program()
    text = whole.index(b'\nprobe "$@"\n') + 1
    host.cards(CARD)
    assert host.run(whole[: text - 10]).stdout == b""
    reading = parse_probe(host.run(whole[:-100]).stdout, NONCE)
    assert reading.gpus is None
    assert reading.source.startswith("python3 ended with 1: zlib.error")


def test_many_cards_with_much_to_say_stay_within_bounds(one_host: ProbedHost) -> None:
    """A host of 31 cards with a hundred processes each is read."""
    processes = " ".join(f"{pid} 1" for pid in range(1000, 1100))
    cards = [CARD.replace("1111", f"{number:04}", 1) for number in range(31)]
    lines = [line for card in cards for line in (card, f"+nvmlDeviceGetComputeRunningProcesses\t{processes}")]
    one_host.cards(*lines)
    gpus = one_host.reading().gpus or ()
    assert [len(gpu.processes or ()) for gpu in gpus] == [100] * 31


def test_the_test_s_own_python_runs_it(one_host: ProbedHost) -> None:
    """The control of all that is done without: the interpreter of these tests is the host's."""
    one_host.cards(CARD)
    one_host.use_python(sys.executable)
    assert one_host.reading().source == "nvml"
