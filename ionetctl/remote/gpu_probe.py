"""Asks NVML for all there is to know of a host's GPUs; runs on that host, with nothing but its own Python.

A process that is stuck in the driver heeds no signal. So a child does the asking, in a session of its own and with none
of our files, and tells through a pipe what it asks next; whoever waits for it gives up in time and leaves it behind.
Written for Python 3.6 and its standard library; what it prints stands in ``docs/explanation/gpu-probe.md``.
"""

import ctypes
import os
import select
import signal
import sys
import time
from _json import encode_basestring_ascii as quoted

import pynvml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Answer = Any
    Handle = Any
    """Objects of pynvml, which has no types."""

DEADLINE_S = float(os.environ.get("IONET_PROBE_DEADLINE_S", "10"))
"""For one answer. Without persistence mode each card takes a second or two to wake: many cards are no hang."""
ALL_S = 4 * DEADLINE_S
ROOT = os.environ.get("IONET_ROOT", "")
NO_ANSWER = 3
"""Exit status where somebody else may know more; the reason stands on standard error."""
TEXT_CHARS = 128
GPU_LIMIT = 256
PROCESS_LIMIT = 256
MIG_LIMIT = 16
UNREADABLE_LIMIT = 16
ANSWER_LIMIT_BYTES = 448 * 1024
NVLINK_LIMIT = 36
STANDARD_FILES = range(3)
BYTES_PER_MIB = 1 << 20
NVIDIA = "0x10de"
WIDEST_LINK = 32

ERRORS = {value: name for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_")}  # type: dict[int, str]
NOT_THERE = (
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_NOT_FOUND,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    pynvml.NVML_ERROR_DEPRECATED,
)
"""The card, or a driver of another age, knows no such thing: nothing is wrong."""
OUT_OF_REACH = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN)
"""How a handle is refused for a card that has fallen off its bus; drivers differ."""
FABRIC_STATES = {1: "not_started", 2: "in_progress", 3: "completed"}
"""``nvmlGpuFabricState_t``; 0 stands for no fabric."""


class UnansweredError(Exception):
    """NVML cannot be asked here; the text says why."""


class Questions:
    """What is asked of one card, or of the driver as a whole, and what went wrong at that."""

    def __init__(self, say: "Callable[[str], None]", where: str = "") -> None:
        self.say = say
        self.where = where
        self.unreadable = []  # type: list[str]
        self.is_lost = False

    def ask(self, question: "Callable[..., Any]", *arguments: "Handle") -> "Answer":
        """NVML's answer; ``None`` where there is none. Of a card that got lost, nothing more is asked."""
        if self.is_lost:
            return None
        self.say(question.__name__ + self.where)
        try:
            return question(*arguments)
        except UnicodeDecodeError as error:
            return error.object
        except pynvml.NVMLError as error:
            self._note(question, error.value)
        return None

    def first(self, *alternatives: "tuple[Any, ...]") -> "Answer":
        """The first answer to a question that newer and older drivers know under different names."""
        for alternative in alternatives:
            answer = self.ask(*alternative)
            if answer is not None or (
                self.unreadable and self.unreadable[-1].startswith(alternative[0].__name__)
            ):
                return answer
        return None

    def _note(self, question: "Callable[..., Any]", status: int) -> None:
        self.is_lost = self.is_lost or status == pynvml.NVML_ERROR_GPU_IS_LOST
        if status not in NOT_THERE and len(self.unreadable) < UNREADABLE_LIMIT:
            self.unreadable.append(f"{question.__name__}: {error_name(status)}")


# --- one card --------------------------------------------------------------------------------------------------------


def gpu(index: int, say: "Callable[[str], None]") -> "dict[str, Any]":
    """One card, with as much as it tells."""
    of = Questions(say, f" of GPU {index}")
    seen = {"index": index, "name": "", "uuid": ""}  # type: dict[str, Any]
    handle = of.ask(pynvml.nvmlDeviceGetHandleByIndex, index)
    if handle is None:
        seen["is_lost"] = any(error_name(status) in note for status in OUT_OF_REACH for note in of.unreadable)
    else:
        seen.update(identity(of, handle), link=link(of, handle), memory_health=memory_health(of, handle))
        seen.update(power(of, handle), **state(of, handle))
        seen.update(mig(of, handle), processes=processes(of, handle), **interconnect(of, handle))
        seen["is_lost"] = of.is_lost
    seen["unreadable"] = of.unreadable
    return seen


def identity(of: Questions, handle: "Handle") -> "dict[str, Any]":
    """What the card is."""
    pci = of.ask(pynvml.nvmlDeviceGetPciInfo, handle)
    return {
        "pci_bus_id": None if pci is None else text(pci.busId),
        "uuid": text(of.ask(pynvml.nvmlDeviceGetUUID, handle)),
        "name": text(of.ask(pynvml.nvmlDeviceGetName, handle)),
        "memory_mib": memory_mib(of, handle),
    }


def memory_mib(of: Questions, handle: "Handle") -> "int | None":
    """The memory of a card or MIG device."""
    memory = of.ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return None if memory is None else int(memory.total) // BYTES_PER_MIB


def link(of: Questions, handle: "Handle") -> "dict[str, int | None]":
    """The card's PCIe link."""
    return {
        "generation": of.ask(pynvml.nvmlDeviceGetCurrPcieLinkGeneration, handle),
        "generation_max": of.ask(pynvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        "width": of.ask(pynvml.nvmlDeviceGetCurrPcieLinkWidth, handle),
        "width_max": of.ask(pynvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
    }


def memory_health(of: Questions, handle: "Handle") -> "dict[str, Any]":
    """ECC, retired pages (up to Volta) and remapped rows (from Ampere on)."""
    ecc = of.ask(pynvml.nvmlDeviceGetEccMode, handle)
    is_ecc_on = None if ecc is None else ecc[0] == 1
    errors = [
        of.ask(pynvml.nvmlDeviceGetTotalEccErrors, handle, kind, 1) if is_ecc_on else None for kind in (0, 1)
    ]
    pages = [of.ask(pynvml.nvmlDeviceGetRetiredPages, handle, cause) for cause in (0, 1)]
    is_pending = of.ask(pynvml.nvmlDeviceGetRetiredPagesPendingStatus, handle)
    rows = of.ask(pynvml.nvmlDeviceGetRemappedRows, handle) or (None, None, None, None)
    repairs = [each for each in (is_pending, rows[2]) if each is not None]
    return {
        "is_ecc_on": is_ecc_on,
        "ecc_corrected": errors[0],
        "ecc_uncorrected": errors[1],
        "retired_pages": None if None in pages else sum(map(len, pages)),
        "remapped_corrected": rows[0],
        "remapped_uncorrected": rows[1],
        "pending_repair": any(repairs) if repairs else None,
        "has_remap_failed": flag(rows[3]),
    }


def power(of: Questions, handle: "Handle") -> "dict[str, float | None]":
    """Power limits."""
    bounds = of.ask(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle)
    return {
        "power_limit_w": watts(of.ask(pynvml.nvmlDeviceGetPowerManagementLimit, handle)),
        "power_default_w": watts(of.ask(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)),
        "power_max_w": None if bounds is None else watts(bounds[1]),
    }


def state(of: Questions, handle: "Handle") -> "dict[str, Any]":
    """How the card is doing right now."""
    load = of.ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
    return {
        "temperature_c": of.ask(pynvml.nvmlDeviceGetTemperature, handle, 0),
        "slowdown_c": of.ask(pynvml.nvmlDeviceGetTemperatureThreshold, handle, 1),
        "utilization_percent": None if load is None else int(load.gpu),
        "is_persistent": flag(of.ask(pynvml.nvmlDeviceGetPersistenceMode, handle)),
        "has_display": flag(of.ask(pynvml.nvmlDeviceGetDisplayActive, handle)),
    }


def mig(of: Questions, handle: "Handle") -> "dict[str, Any]":
    """MIG mode, and the devices that it made of the card."""
    mode = of.ask(pynvml.nvmlDeviceGetMigMode, handle)
    if mode is None or mode[0] != 1:
        return {"is_mig_on": None if mode is None else False, "mig": []}
    count = of.ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
    places = range(min(count, MIG_LIMIT))
    handles = (of.ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place) for place in places)
    return {"is_mig_on": True, "mig": [mig_device(of, each) for each in handles if each is not None]}


def mig_device(of: Questions, handle: "Handle") -> "dict[str, Any]":
    """One MIG device; its name ends with its profile, but for older drivers."""
    _, named, profile = text(of.ask(pynvml.nvmlDeviceGetName, handle)).rpartition("MIG ")
    if not named or not profile[:1].isdigit() or len(profile.split()) != 1:
        profile = ""
    parts = None if profile else of.ask(pynvml.nvmlDeviceGetAttributes_v2, handle)
    if parts is not None:
        profile = f"{parts.gpuInstanceSliceCount}g.{round(parts.memorySizeMB / 1024)}gb"
    return {
        "uuid": text(of.ask(pynvml.nvmlDeviceGetUUID, handle)),
        "profile": profile,
        "memory_mib": memory_mib(of, handle),
    }


def interconnect(of: Questions, handle: "Handle") -> "dict[str, Any]":
    """NVLink, and the fabric that it may be part of."""
    links = []
    for number in range(NVLINK_LIMIT):
        # The first number beyond the last link is an invalid argument, and no reason to complain.
        asked = Questions(of.say, of.where)
        answer = asked.ask(pynvml.nvmlDeviceGetNvLinkState, handle, number)
        of.is_lost = of.is_lost or asked.is_lost
        if answer is None:
            break
        links.append(answer)
    return {
        "nvlinks": links.count(1) if links else None,
        "nvlinks_max": len(links) if links else None,
        "fabric_state": fabric_state(of, handle),
    }


def fabric_state(of: Questions, handle: "Handle") -> "str | None":
    """The fabric's state; ``failed`` where NVML calls it completed, with an error."""
    info = pynvml.c_nvmlGpuFabricInfo_v2_t()
    if of.ask(pynvml.nvmlDeviceGetGpuFabricInfoV, handle, ctypes.byref(info)) is None:
        info = pynvml.c_nvmlGpuFabricInfo_t()
        if of.ask(pynvml.nvmlDeviceGetGpuFabricInfo, handle, ctypes.byref(info)) is None:
            return None
    name = FABRIC_STATES.get(info.state & 0xFF)
    return "failed" if name == "completed" and info.status else name


def processes(of: Questions, handle: "Handle") -> "list[dict[str, Any]] | None":
    """What computes on the card."""
    running = of.first(
        (pynvml.nvmlDeviceGetComputeRunningProcesses_v3, handle),
        (pynvml.nvmlDeviceGetComputeRunningProcesses_v2, handle),
    )
    return None if running is None else [process(of, each) for each in running[:PROCESS_LIMIT]]


def process(of: Questions, seen: "Answer") -> "dict[str, Any]":
    """One process."""
    used = seen.usedGpuMemory
    return {
        "pid": seen.pid,
        "name": program_name(of, seen.pid),
        "memory_mib": None if used is None else used // BYTES_PER_MIB,
    }


def program_name(of: Questions, pid: int) -> str:
    """A process's program, from the kernel; NVML also knows those in process namespaces that we do not see."""
    place = f"{ROOT}/proc/{pid}"
    try:
        name = os.readlink(place + "/exe")
    except OSError:
        name = read(place + "/comm")
    if not name:
        named = Questions(of.say, of.where).ask(pynvml.nvmlSystemGetProcessName, pid)
        name = text(named)
    if name.endswith(" (deleted)"):
        name = name[: -len(" (deleted)")]
    return text(os.path.basename(name))


# --- values ----------------------------------------------------------------------------------------------------------


def error_name(status: int) -> str:
    """An error as nvml.h calls it."""
    return ERRORS.get(status, f"NVML_ERROR_{status}")


def text(value: "bytes | str | None") -> str:
    """A text of bounded length whatever its bytes."""
    if value is None:
        return ""
    data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    return data.decode("utf-8", "replace")[:TEXT_CHARS]


def flag(value: "int | None") -> "bool | None":
    """``nvmlEnableState_t``."""
    return None if value is None else value != 0


def watts(milliwatts: "int | None") -> "float | None":
    """Watts."""
    return None if milliwatts is None else milliwatts / 1000.0


def as_json(value: "Answer") -> str:
    """JSON of what ``collect`` returns. Python's own module takes longer to load than all of this."""
    if isinstance(value, dict):
        return "{{{}}}".format(",".join(quoted(key) + ":" + as_json(each) for key, each in value.items()))
    if isinstance(value, list):
        return "[{}]".format(",".join(map(as_json, value)))
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def read(path: str) -> str:
    """The first line of one of the kernel's files; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return text(file.read(4096).split(b"\n")[0])
    except OSError:
        return ""


# --- the PCI bus -----------------------------------------------------------------------------------------------------


def bus_addresses() -> "list[str] | None":
    """Addresses of the NVIDIA display devices on the bus; ``None`` where the kernel does not say."""
    devices = ROOT + "/sys/bus/pci/devices"
    try:
        found = sorted(os.listdir(devices))
    except OSError:
        return None
    return [each for each in found if is_card(os.path.join(devices, each))]


def is_card(device: str) -> bool:
    """Whether a PCI device is an NVIDIA card: its sound and USB functions are not."""
    return read(device + "/vendor") == NVIDIA and read(device + "/class").startswith("0x03")


def sysfs_address(pci_bus_id: str) -> str:
    """NVML's ``00000000:C1:00.0`` as the kernel writes it."""
    domain, _, rest = pci_bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def settle_addresses(gpus: "list[dict[str, Any]]", on_bus: "list[str]") -> None:
    """Give cards without an address those of the bus that nobody else has, where there are as many: NVML keeps its order."""
    known = {sysfs_address(seen["pci_bus_id"]) for seen in gpus if seen.get("pci_bus_id")}
    nameless = [seen for seen in gpus if not seen.get("pci_bus_id")]
    free = [address for address in on_bus if address not in known]
    if len(free) == len(nameless):
        for seen, address in zip(nameless, free):
            seen["pci_bus_id"] = "0000" + address.upper()


def settle_widths(gpus: "list[dict[str, Any]]") -> None:
    """A card's widest link is the card's own: NVML lowers it to what the slot, a riser's perhaps, can do."""
    for seen in gpus:
        if seen.get("pci_bus_id") and seen.get("link"):
            device = "{}/sys/bus/pci/devices/{}".format(ROOT, sysfs_address(seen["pci_bus_id"]))
            own = read(device + "/max_link_width")
            if own.isdigit() and (seen["link"]["width_max"] or 0) < int(own) <= WIDEST_LINK:
                seen["link"]["width_max"] = int(own)


# --- the child -------------------------------------------------------------------------------------------------------


def collect(say: "Callable[[str], None]") -> "dict[str, Any]":
    """All that is to be known; raises ``UnansweredError`` where NVML cannot be asked at all."""
    started = time.monotonic()
    on_bus = bus_addresses()
    found = {"devices_on_bus": None if on_bus is None else len(on_bus)}  # type: dict[str, Any]
    try:
        say("nvmlInit")
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        found["error"] = refusal(error.value)
    else:
        found.update(driver(Questions(say)), gpus=[gpu(index, say) for index in range(min(count, GPU_LIMIT))])
        settle_addresses(found["gpus"], on_bus or [])
        settle_widths(found["gpus"])
    found["took_ms"] = int((time.monotonic() - started) * 1000)
    return found


def refusal(status: int) -> str:
    """Why NVML gives no answer; raises ``UnansweredError`` where the reason is its library and not the driver."""
    if status == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        raise UnansweredError("libnvidia-ml.so.1 cannot be loaded")
    if status == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
        raise UnansweredError("libnvidia-ml.so.1 is too old")
    return error_name(status)


def driver(of: Questions) -> "dict[str, str | None]":
    """Versions of the driver, of the newest CUDA that it runs, and of NVML."""
    cuda = of.ask(pynvml.nvmlSystemGetCudaDriverVersion_v2)
    return {
        "driver_version": text(of.ask(pynvml.nvmlSystemGetDriverVersion)) or None,
        "cuda_version": None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        "nvml_version": text(of.ask(pynvml.nvmlSystemGetNVMLVersion)) or None,
    }


def let_go(pipe: int) -> None:
    """Keep nothing open but the pipe, so that nobody waits for this process to end."""
    os.setsid()
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in STANDARD_FILES:
        os.dup2(nothing, number)
    for number in [int(name) for name in os.listdir("/proc/self/fd")]:
        if number >= len(STANDARD_FILES) and number != pipe:
            try:
                os.close(number)
            except OSError:  # the one that listed them
                continue


def ask_into(pipe: int) -> None:
    """The child's life: lines ``?QUESTION`` before each of them, at the end ``=ANSWER`` or ``!REASON``."""

    def say(line: str) -> None:
        os.write(pipe, f"?{line}\n".encode())

    try:
        let_go(pipe)
        end = "=" + as_json(collect(say))
    except UnansweredError as error:
        end = f"!{error}"
    except Exception as error:  # noqa: BLE001  (whatever it is, somebody waits to hear of it)
        end = f"!the probe failed: {error!r}"
    data = end.encode("ascii", "backslashreplace") + b"\n"
    while data:
        data = data[os.write(pipe, data) :]


# --- the parent ------------------------------------------------------------------------------------------------------


def listen(pipe: int) -> "Iterable[bytes]":
    """The child's lines; a last empty one where it fell silent, or did not end in time."""
    rest = b""
    end = time.monotonic() + ALL_S
    while True:
        left = min(DEADLINE_S, end - time.monotonic())
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            yield b""
            return
        block = os.read(pipe, 1 << 16)
        if not block:
            return
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield from lines


def answer(lines: "Iterable[bytes]") -> "bytes":
    """The record to print; raises ``UnansweredError`` where there is none."""
    asked = b"nothing"
    for line in lines:
        if not line:
            return b"hanging\t" + asked
        if line.startswith(b"=") and len(line) < ANSWER_LIMIT_BYTES:
            return b"nvml\t" + line[1:]
        if not line.startswith(b"?"):
            raise UnansweredError(
                line[1:1000].decode("ascii", "replace") if line[:1] == b"!" else "NVML says too much"
            )
        asked = line[1:]
    message = "the probe died at {}".format(asked.decode("ascii", "replace"))
    raise UnansweredError(message)


def main() -> int:
    """Print one record, or say on standard error why there is none; returns the exit status."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ask_into(writer)
        finally:
            os._exit(0)
    os.close(writer)
    status = 0
    try:
        said = answer(listen(reader))
        # The record is the last line, whatever Python has to say at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stdout.buffer.write(said + b"\n")
    except UnansweredError as error:
        sys.stderr.write(f"{error}\n")
        status = NO_ANSWER
    # Never waited for: what is stuck in the driver ends when the driver lets it, or at the next boot.
    os.kill(child, signal.SIGKILL)
    return status


if __name__ == "__main__":
    sys.exit(main())
