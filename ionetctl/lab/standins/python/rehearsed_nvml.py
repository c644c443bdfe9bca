"""Stands for NVML on a rehearsal host: answers the calls of nvml.h from the host's ``run/lab/gpus.json``.

``ctypes`` loads it in place of ``libnvidia-ml.so.1`` and calls it like a C library: handles and numbers are ctypes objects,
results are written through ``byref``. A missing function is an undefined symbol, as with an older driver; a value that is
``null`` in the file is one that the GPU does not support.
"""

from __future__ import annotations

import ctypes
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any, Final, TypeAlias

    JsonObject: TypeAlias = dict[str, Any]
    Call: TypeAlias = Any
    """A function with the parameters of its C counterpart."""

SUCCESS: Final = 0
UNINITIALIZED: Final = 1
INVALID_ARGUMENT: Final = 2
NOT_SUPPORTED: Final = 3
NOT_FOUND: Final = 6
INSUFFICIENT_SIZE: Final = 7
GPU_IS_LOST: Final = 15
HANGS: Final = -1
HANG_S: Final = 60.0
"""Longer than every timeout, and not for ever: a process that hangs here may never be killed."""
MIG_HANDLES: Final = 1000
"""The handle of a GPU is its index + 1; that of its n-th MIG device is ``n * MIG_HANDLES`` more."""
FABRIC_STATES: Final = ("not_supported", "not_started", "in_progress", "completed")
SLOWDOWN: Final = 1
LINK_COUNT_FIELD: Final = 91
"""``NVML_FI_DEV_NVLINK_LINK_COUNT``."""

NUMBERS: Final[dict[str, tuple[str, ...]]] = {
    "DeviceGetCurrPcieLinkGeneration": ("link.generation",),
    "DeviceGetCurrPcieLinkWidth": ("link.width",),
    "DeviceGetDisplayActive": ("has_display",),
    "DeviceGetDisplayMode": ("has_display",),
    "DeviceGetEccMode": ("memory_health.is_ecc_on", "memory_health.is_ecc_on"),
    "DeviceGetEnforcedPowerLimit": ("power_limit_w",),
    "DeviceGetGpuMaxPcieLinkGeneration": ("link.generation_max",),
    "DeviceGetIndex": ("index",),
    "DeviceGetMaxPcieLinkGeneration": ("link.generation_max",),
    "DeviceGetMaxPcieLinkWidth": ("link.width_max",),
    "DeviceGetMigMode": ("is_mig_on", "is_mig_on"),
    "DeviceGetMinorNumber": ("index",),
    "DeviceGetPersistenceMode": ("is_persistent",),
    "DeviceGetPowerManagementDefaultLimit": ("power_default_w",),
    "DeviceGetPowerManagementLimit": ("power_limit_w",),
    "DeviceGetPowerManagementLimitConstraints": ("power_default_w", "power_max_w"),
    "DeviceGetRemappedRows": (
        "memory_health.remapped_corrected",
        "memory_health.remapped_uncorrected",
        "memory_health.pending_repair",
        "memory_health.has_remap_failed",
    ),
    "DeviceGetTemperature": ("temperature_c",),
}
"""Function → the paths of its results in a GPU's JSON object, in order."""
TEXTS: Final = {"DeviceGetName": "name", "DeviceGetUUID": "uuid"}


class _RefusedError(Exception):
    """A call fails with an error of nvml.h (``nvmlReturn_t``)."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def patch(module: ModuleType) -> None:
    """Let ``ctypes`` load the stand-in for the driver's library, and any other library as before."""
    load_original = module.CDLL

    def load_as_host(name: str | None, *arguments: Any, **options: Any) -> Any:
        if name is not None and name.rpartition("/")[2].startswith("libnvidia-ml"):
            return load()
        return load_original(name, *arguments, **options)

    vars(module)["CDLL"] = load_as_host


def load() -> Library:
    """The library; raises the loader's ``OSError`` where the host does not have it."""
    try:
        with open(f"{os.environ['IONET_ROOT']}/run/lab/gpus.json", encoding="utf-8") as file:
            return Library(json.load(file))
    except FileNotFoundError:
        message = "libnvidia-ml.so.1: cannot open shared object file: No such file or directory"
        raise OSError(message) from None


class Library:
    """Takes the place of a ``CDLL``: its attributes are functions."""

    def __init__(self, driver: JsonObject) -> None:
        self._driver = driver
        self._cards: list[JsonObject] = driver["gpus"]

    def __getattr__(self, name: str) -> Callable[..., int]:
        what = name.removeprefix("nvml").removesuffix("_v2").removesuffix("_v3")
        call = self._function(what)
        if not name.startswith("nvml") or call is None:
            raise AttributeError(f"libnvidia-ml.so.1: undefined symbol: {name}")
        return lambda *arguments: self._answer(what, call, arguments)

    def _function(self, what: str) -> Call | None:
        if what in NUMBERS:
            return lambda card, *results: _put_all(card, NUMBERS[what], results)
        if what in TEXTS:
            return lambda card, text, _size: _put(text, card[TEXTS[what]])
        return _SYSTEM.get(what) or _DEVICE.get(what)

    def _answer(self, what: str, call: Call, arguments: tuple[Any, ...]) -> int:
        """Call the function with the GPU in place of its handle; returns the status that C returns."""
        try:
            if what in _SYSTEM:
                call(self._driver, *arguments)
            else:
                call(self._card(what, arguments[0]), *arguments[1:])
        except _RefusedError as refused:
            return refused.status
        return SUCCESS

    def _card(self, what: str, handle: Any) -> JsonObject:
        """The GPU, or the MIG device, of a handle; raises ``_RefusedError`` when it is lost or refuses this function."""
        mig, number = divmod(ctypes.cast(handle, ctypes.c_void_p).value or 0, MIG_HANDLES)
        card = self._cards[number - 1]
        refusal = GPU_IS_LOST if card["is_lost"] else card["refusals"].get(f"nvml{what}")
        if refusal is not None:
            raise _RefusedError(refusal)
        return _as_card(card, card["mig"][mig - 1]) if mig else card


def _as_card(card: JsonObject, mig: JsonObject) -> JsonObject:
    """A MIG device in the form of a GPU: with the GPU's name, and a UUID and memory of its own."""
    return {**card, **mig, "name": f"{card['name']} MIG {mig['profile']}", "mig": []}


# --- results ---------------------------------------------------------------------------------------------------------


def _put(result: Any, value: Any) -> None:
    """Write a result through a ``byref`` or into a buffer; ``None`` is refused as not supported."""
    target = getattr(result, "_obj", result)
    if value is None:
        raise _RefusedError(NOT_SUPPORTED)
    target.value = value.encode() if isinstance(value, str) else value


def _put_all(card: JsonObject, paths: tuple[str, ...], results: tuple[Any, ...]) -> None:
    for path, result in zip(paths, results[-len(paths) :], strict=True):
        _put(result, _number(card, path))


def _number(card: JsonObject, path: str) -> int | None:
    value: Any = card
    for key in path.split("."):
        value = value[key]
    if value is None:
        return None
    return int(value * 1000) if path.endswith("_w") else int(value)


def _int_of(argument: Any) -> int:
    """The value of a ctypes object, or of a plain number."""
    return int(getattr(argument, "value", argument))


def _put_list(values: list[Any], count: Any, items: Any, put: Callable[[int, Any], None]) -> None:
    """Write a list as NVML does: when the buffer is too small, only the needed size is written, and the call is refused."""
    room, count._obj.value = count._obj.value, len(values)
    if room < len(values):
        raise _RefusedError(INSUFFICIENT_SIZE)
    if items is not None:
        for place, value in enumerate(values):
            put(place, value)


# --- functions of the library ----------------------------------------------------------------------------------------


def _initialize(driver: JsonObject, *_: Any) -> None:
    if driver["status"] == HANGS:
        time.sleep(HANG_S)
    if driver["status"]:
        raise _RefusedError(driver["status"] if driver["status"] > 0 else UNINITIALIZED)


def _cuda_version(driver: JsonObject, result: Any) -> None:
    major, minor = map(int, driver["cuda_version"].split("."))
    _put(result, major * 1000 + minor * 10)


def _handle_by_index(driver: JsonObject, index: Any, result: Any) -> None:
    if _int_of(index) >= len(driver["gpus"]):
        raise _RefusedError(INVALID_ARGUMENT)
    if driver["gpus"][_int_of(index)]["is_lost"]:
        raise _RefusedError(GPU_IS_LOST)
    _put_handle(result, _int_of(index) + 1)


def _put_handle(result: Any, handle: int) -> None:
    ctypes.c_void_p.from_address(ctypes.addressof(result._obj)).value = handle


def _process_name(driver: JsonObject, process: Any, name: Any, _size: Any) -> None:
    processes = [one for card in driver["gpus"] for one in card["processes"] or ()]
    names = [one["name"] for one in processes if one["pid"] == _int_of(process)]
    if not names:
        raise _RefusedError(NOT_FOUND)
    _put(name, f"/opt/{names[0]}/{names[0]}")


_SYSTEM: Final[dict[str, Call]] = {
    "DeviceGetCount": lambda driver, count: _put(count, len(driver["gpus"])),
    "DeviceGetHandleByIndex": _handle_by_index,
    "Init": _initialize,
    "InitWithFlags": _initialize,
    "Shutdown": lambda _driver: None,
    "SystemGetCudaDriverVersion": _cuda_version,
    "SystemGetDriverVersion": lambda driver, text, _size: _put(text, driver["version"]),
    "SystemGetNVMLVersion": lambda driver, text, _size: _put(text, f"12.{driver['version']}"),
    "SystemGetProcessName": _process_name,
}
"""Functions without a handle: they get the driver."""


# --- functions of a card ---------------------------------------------------------------------------------------------


def _memory(card: JsonObject, result: Any) -> None:
    """Fill in either version of the structure."""
    memory = result._obj
    memory.total = card["memory_mib"] << 20
    memory.used = sum(one["memory_mib"] or 0 for one in card.get("processes") or ()) << 20
    memory.free = memory.total - memory.used


def _pci(card: JsonObject, result: Any) -> None:
    info, address = result._obj, card["pci_bus_id"]
    domain, bus, rest = address.split(":")
    info.domain, info.bus, info.device = int(domain, 16), int(bus, 16), int(rest.split(".")[0], 16)
    info.busId = address.encode()
    if hasattr(info, "busIdLegacy"):
        info.busIdLegacy = address[4:].encode()


def _ecc_errors(card: JsonObject, kind: Any, _counter: Any, result: Any) -> None:
    names = ("ecc_corrected", "ecc_uncorrected")
    _put(result, card["memory_health"][names[_int_of(kind)]])


def _retired_pages(card: JsonObject, cause: Any, count: Any, pages: Any, *_times: Any) -> None:
    """All pages for cause 0 (single-bit errors), none for cause 1."""
    retired = card["memory_health"]["retired_pages"]
    if retired is None:
        raise _RefusedError(NOT_SUPPORTED)

    def put(place: int, page: int) -> None:
        pages[place] = page

    _put_list(list(range(retired if _int_of(cause) == 0 else 0)), count, pages, put)


def _pending_retirement(card: JsonObject, result: Any) -> None:
    health = card["memory_health"]
    _put(result, None if health["retired_pages"] is None else int(bool(health["pending_repair"])))


def _threshold(card: JsonObject, kind: Any, result: Any) -> None:
    _put(result, card["slowdown_c"] if _int_of(kind) == SLOWDOWN else None)


def _temperature_v(card: JsonObject, result: Any) -> None:
    if card["temperature_c"] is None:
        raise _RefusedError(NOT_SUPPORTED)
    result._obj.temperature = card["temperature_c"]


def _utilization(card: JsonObject, result: Any) -> None:
    if card["utilization_percent"] is None:
        raise _RefusedError(NOT_SUPPORTED)
    result._obj.gpu, result._obj.memory = card["utilization_percent"], 0


def _processes(card: JsonObject, count: Any, items: Any) -> None:
    if card["processes"] is None:
        raise _RefusedError(NOT_SUPPORTED)

    def put(place: int, process: JsonObject) -> None:
        items[place].pid = process["pid"]
        items[place].usedGpuMemory = (process["memory_mib"] or 0) << 20

    _put_list(card["processes"], count, items, put)


def _mig_handle(card: JsonObject, index: Any, result: Any) -> None:
    if _int_of(index) >= len(card["mig"]):
        raise _RefusedError(NOT_FOUND)
    _put_handle(result, (_int_of(index) + 1) * MIG_HANDLES + card["index"] + 1)


def _mig_attributes(card: JsonObject, result: Any) -> None:
    result._obj.memorySizeMB = card["memory_mib"]
    result._obj.gpuInstanceSliceCount = int(card["profile"].partition("g")[0])


def _link_state(card: JsonObject, link: Any, result: Any) -> None:
    if _int_of(link) >= (card["nvlinks_max"] or 0):
        raise _RefusedError(NOT_SUPPORTED if not card["nvlinks_max"] else INVALID_ARGUMENT)
    _put(result, int(_int_of(link) < card["nvlinks"]))


def _field_values(card: JsonObject, count: Any, values: Any) -> None:
    for value in list(values._obj)[: _int_of(count)]:
        is_known = value.fieldId == LINK_COUNT_FIELD and card["nvlinks_max"]
        value.nvmlReturn = SUCCESS if is_known else NOT_SUPPORTED
        value.valueType = 1
        value.value.uiVal = card["nvlinks_max"] or 0


def _fabric(card: JsonObject, result: Any) -> None:
    if card["fabric_state"] is None:
        raise _RefusedError(NOT_SUPPORTED)
    result._obj.state, result._obj.status = FABRIC_STATES.index(card["fabric_state"]), SUCCESS


_DEVICE: Final[dict[str, Call]] = {
    "DeviceGetAttributes": _mig_attributes,
    "DeviceGetComputeRunningProcesses": _processes,
    "DeviceGetFieldValues": _field_values,
    "DeviceGetGpuFabricInfo": _fabric,
    "DeviceGetGpuFabricInfoV": _fabric,
    "DeviceGetGraphicsRunningProcesses": lambda _card, count, _items: _put(count, 0),
    "DeviceGetMaxMigDeviceCount": lambda card, count: _put(count, 7 if card["is_mig_on"] is not None else 0),
    "DeviceGetMemoryInfo": _memory,
    "DeviceGetMigDeviceHandleByIndex": _mig_handle,
    "DeviceGetNvLinkState": _link_state,
    "DeviceGetPciInfo": _pci,
    "DeviceGetRetiredPages": _retired_pages,
    "DeviceGetRetiredPagesPendingStatus": _pending_retirement,
    "DeviceGetTemperatureThreshold": _threshold,
    "DeviceGetTemperatureV": _temperature_v,
    "DeviceGetTotalEccErrors": _ecc_errors,
    "DeviceGetUtilizationRates": _utilization,
}
"""Functions with a handle as first parameter: they get its GPU."""
