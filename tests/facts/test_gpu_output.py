"""What a probe says is read strictly, whoever wrote it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionetctl.core.errors import HostError, HostFailedError, HostUnreachableError
from ionetctl.core.model.host import GpuPromise
from ionetctl.core.observed import (
    GpuMemoryHealth,
    GpuProcess,
    GpuReading,
    MachineFacts,
    MigInstance,
    PcieLink,
    SeenGpu,
)
from ionetctl.facts.gpu_output import GPU_LIMIT, PROBE_LIMIT_BYTES, needs_probe, parse_probe, without_probe
from tests.support.sample import BARE, HOST

if TYPE_CHECKING:
    from collections.abc import Mapping

NONCE = "n0nce"
LEAST = {"index": 0, "name": "NVIDIA GeForce RTX 4090", "uuid": "GPU-1", "is_lost": False}
ROW = "gpu\t0\tNVIDIA GeForce RTX 4090\tGPU-1\t24564\t00000000:01:00.0"


def framed(*records: str, nonce: str = NONCE) -> bytes:
    return "\n".join((f"ionet-probe\t1\t{nonce}", *records, f"ionet-probe-end\t{nonce}", "")).encode()


def nvml(*gpus: Mapping[str, Any], **fields: object) -> bytes:
    """An answer of NVML with these cards, other fields as given."""
    answer = {"took_ms": 7, "devices_on_bus": 1, "gpus": list(gpus), **fields}
    return framed("nvml\t" + json.dumps(answer))


def read(output: bytes) -> GpuReading:
    return parse_probe(output, NONCE)


def complaint(output: bytes) -> str:
    with pytest.raises(HostFailedError) as caught:
        read(output)
    assert caught.value.code == "probe_malformed"
    return caught.value.message


def test_every_field_ends_in_its_place() -> None:
    """A GPU with every field is parsed in full."""
    output = nvml(
        {
            **LEAST,
            "memory_mib": 24564,
            "pci_bus_id": "00000000:01:00.0",
            "link": {"generation": 1, "generation_max": 4, "width": 8, "width_max": 16},
            "memory_health": {
                "is_ecc_on": True,
                "ecc_corrected": 1,
                "ecc_uncorrected": 2,
                "retired_pages": 3,
                "remapped_corrected": 4,
                "remapped_uncorrected": 5,
                "pending_repair": True,
                "has_remap_failed": False,
            },
            "power_limit_w": 270.5,
            "power_default_w": 450,
            "power_max_w": 600,
            "temperature_c": 41,
            "slowdown_c": 90,
            "utilization_percent": 99,
            "is_persistent": True,
            "is_mig_on": True,
            "mig": [{"uuid": "MIG-1", "profile": "1g.5gb", "memory_mib": 4864}],
            "has_display": False,
            "processes": [{"pid": 42, "name": "t-rex", "memory_mib": None}],
            "nvlinks": 3,
            "nvlinks_max": 4,
            "fabric_state": "completed",
            "unreadable": ["nvmlDeviceGetName: NVML_ERROR_UNKNOWN"],
        },
        driver_version="570.86.15",
        cuda_version="12.8",
        nvml_version="12.570.86.15",
    )
    gpu = SeenGpu(
        index=0,
        name="NVIDIA GeForce RTX 4090",
        uuid="GPU-1",
        memory_mib=24564,
        pci_bus_id="00000000:01:00.0",
        link=PcieLink(1, 4, 8, 16),
        memory_health=GpuMemoryHealth(True, 1, 2, 3, 4, 5, True, False),
        power_limit_w=270.5,
        power_default_w=450.0,
        power_max_w=600.0,
        temperature_c=41,
        slowdown_c=90,
        utilization_percent=99,
        is_persistent=True,
        is_mig_on=True,
        mig=(MigInstance("MIG-1", "1g.5gb", 4864),),
        has_display=False,
        processes=(GpuProcess(42, "t-rex", None),),
        nvlinks=3,
        nvlinks_max=4,
        fabric_state="completed",
        unreadable=("nvmlDeviceGetName: NVML_ERROR_UNKNOWN",),
    )
    assert read(output) == GpuReading((gpu,), "nvml", False, "570.86.15", "12.8", "12.570.86.15", 7)


def test_what_was_not_said_is_unknown() -> None:
    """A lost card has an index, and nothing else is made up for it."""
    output = nvml({"index": 3, "name": "", "uuid": "", "is_lost": True, "unreadable": ["why"]})
    lost = SeenGpu(3, "", "", is_lost=True, unreadable=("why",))
    assert read(output) == GpuReading((lost,), "nvml", took_ms=7)


def test_cards_are_sorted_by_index() -> None:
    """The index decides, not the order of arrival."""
    output = nvml({**LEAST, "index": 2}, {**LEAST, "index": 0}, {**LEAST, "index": 1})
    assert [gpu.index for gpu in read(output).gpus or ()] == [0, 1, 2]


def test_no_cards_are_no_cards() -> None:
    """NVML that counts none is believed."""
    assert read(nvml()) == GpuReading((), "nvml", took_ms=7)


@pytest.mark.parametrize(
    ("error", "on_bus", "gpus", "source"),
    [
        ("NVML_ERROR_DRIVER_NOT_LOADED", 0, (), "pci"),
        (
            "NVML_ERROR_DRIVER_NOT_LOADED",
            None,
            None,
            "the driver is not loaded (NVML_ERROR_DRIVER_NOT_LOADED)",
        ),
        (
            "NVML_ERROR_DRIVER_NOT_LOADED",
            8,
            None,
            "the driver is not loaded (NVML_ERROR_DRIVER_NOT_LOADED); NVIDIA devices on the PCI bus: 8",
        ),
        (
            "NVML_ERROR_LIB_RM_VERSION_MISMATCH",
            0,
            None,
            "the loaded driver and its library are of different versions (NVML_ERROR_LIB_RM_VERSION_MISMATCH)",
        ),
        ("NVML_ERROR_\u001b[31m4711", 0, None, "NVML cannot be asked (NVML_ERROR_4711)"),
    ],
)
def test_a_refusal_is_reported(error: str, on_bus: int | None, gpus: tuple[()] | None, source: str) -> None:
    """Without a driver the number is unknown, unless there is nothing that a driver could drive."""
    output = framed("nvml\t" + json.dumps({"took_ms": 7, "devices_on_bus": on_bus, "error": error}))
    assert read(output) == GpuReading(gpus, source, took_ms=7)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (("unknown\tno python3,\u001b[31m red",), GpuReading(None, "no python3, red")),
        (
            ("hanging\tnvmlInit",),
            GpuReading(None, "the driver hangs: no answer to nvmlInit", is_hanging=True),
        ),
        (("empty",), GpuReading((), "pci")),
        (("source\tnvidia-smi (no python3)",), GpuReading((), "nvidia-smi (no python3)")),
        (
            (ROW, "gpu\t1\tNVIDIA, Inc. \tGPU-2\t\t", "source\tnvidia-smi"),
            GpuReading(
                (
                    SeenGpu(0, "NVIDIA GeForce RTX 4090", "GPU-1", 24564, "00000000:01:00.0"),
                    SeenGpu(1, "NVIDIA, Inc.", "GPU-2"),
                ),
                "nvidia-smi",
            ),
        ),
    ],
)
def test_others_than_nvml_may_speak(records: tuple[str, ...], expected: GpuReading) -> None:
    """The last record tells who said what; rows of nvidia-smi come before it."""
    assert read(framed(*records)) == expected


def test_what_follows_is_no_part_of_it() -> None:
    """What a login prints at its end, after the closing line, is not read."""
    assert read(framed("empty") + b"bye\n").gpus == ()


def test_texts_are_made_harmless() -> None:
    """No name commands a terminal or a CI system, and none is endless."""
    bad = "\u001b]0;owned\u0007::error::\u202e" + "x" * 900
    output = nvml(
        {
            **LEAST,
            "name": bad,
            "pci_bus_id": bad,
            "mig": [{"uuid": "MIG-1", "profile": bad, "memory_mib": None}],
            "processes": [{"pid": 1, "name": bad, "memory_mib": None}],
            "fabric_state": bad,
            "unreadable": [bad],
        },
        driver_version=bad,
        cuda_version=bad,
        nvml_version=bad,
    )
    reading = read(output)
    (gpu,) = reading.gpus or ()
    texts = [gpu.name, gpu.pci_bus_id, gpu.mig[0].profile, gpu.fabric_state, gpu.unreadable[0]]
    texts += [
        (gpu.processes or ())[0].name,
        reading.driver_version,
        reading.cuda_version,
        reading.nvml_version,
    ]
    assert {text and text[:12] for text in texts} == {": :error: :x"}
    assert {len(text or "") for text in texts} == {300}


@pytest.mark.parametrize(
    ("output", "named"),
    [
        pytest.param(b"x" * (PROBE_LIMIT_BYTES + 1), "'output'", id="too much"),
        pytest.param(framed(), "''", id="nothing"),
        pytest.param(framed("gpus\t8"), "'gpus'", id="another word"),
        pytest.param(framed("empty\tno"), "'empty'", id="empty with a value"),
        pytest.param(framed(ROW, "empty"), "'empty'", id="cards that nobody counted"),
        pytest.param(framed(ROW, 'nvml\t{"took_ms":1,"devices_on_bus":0,"gpus":[]}'), "'nvml'", id="both"),
        pytest.param(framed(ROW, ROW, "source\tx"), "'gpu'", id="row twice"),
        pytest.param(framed("gpu\t0\tA\tGPU-1\t1", "source\tx"), "'gpu'", id="row without a value"),
        pytest.param(framed("card\t0\tA\tGPU-1\t1\tb", "source\tx"), "'card'", id="row of another kind"),
        pytest.param(framed("gpu\t-1\tA\tGPU-1\t1\tb", "source\tx"), "'gpu'", id="row with a negative index"),
        pytest.param(framed("gpu\t0\tA\tGPU-1\t1e3\tb", "source\tx"), "'gpu'", id="row with an odd memory"),
        pytest.param(framed("gpu\t0\tA\tFPU-1\t1\tb", "source\tx"), "'uuid'", id="row with another UUID"),
        pytest.param(framed(*[ROW] * (GPU_LIMIT + 1), "source\tx"), "'gpu'", id="many rows"),
        pytest.param(framed("nvml\t"), "'nvml'", id="no JSON"),
        pytest.param(framed("nvml\t[]"), "'nvml'", id="a list"),
        pytest.param(framed("nvml\t{}"), "took_ms", id="nothing in it"),
        pytest.param(framed("nvml\t" + "[" * 100_000), "'nvml'", id="deep"),
        pytest.param(framed('nvml\t{"took_ms":' + "[" * 9000 + "]" * 9000 + "}"), "'nvml'", id="deep inside"),
        pytest.param(
            framed('nvml\t{"took_ms":1,"devices_on_bus":0}'), "'nvml.gpus'", id="neither cards nor error"
        ),
        pytest.param(nvml(LEAST, took_ms=-1), "$.took_ms", id="negative"),
        pytest.param(nvml(LEAST, surprise=1), "surprise", id="unknown field"),
        pytest.param(nvml({**LEAST, "surprise": 1}), "$.gpus[0]", id="unknown field of a card"),
        pytest.param(nvml(LEAST, LEAST), "'nvml.gpus.index'", id="card twice"),
        pytest.param(nvml({**LEAST, "name": None}), "$.gpus[0].name", id="no name"),
        pytest.param(nvml({**LEAST, "name": 4090}), "$.gpus[0].name", id="a number for a name"),
        pytest.param(nvml({**LEAST, "name": "x" * 1025}), "$.gpus[0].name", id="a long name"),
        pytest.param(nvml({**LEAST, "uuid": "GPU-$(id)"}), "'uuid'", id="an odd UUID"),
        pytest.param(nvml({**LEAST, "index": GPU_LIMIT}), "$.gpus[0].index", id="index too high"),
        pytest.param(nvml({**LEAST, "index": True}), "$.gpus[0].index", id="a truth for an index"),
        pytest.param(nvml({**LEAST, "memory_mib": 1 << 60}), "$.gpus[0].memory_mib", id="huge"),
        pytest.param(nvml({**LEAST, "memory_mib": 10**400}), "'nvml'", id="beyond any number"),
        pytest.param(nvml({**LEAST, "memory_mib": 1.5}), "$.gpus[0].memory_mib", id="a fraction"),
        pytest.param(nvml({**LEAST, "power_limit_w": float("nan")}), "'nvml'", id="NaN"),
        pytest.param(nvml({**LEAST, "power_limit_w": float("inf")}), "'nvml'", id="infinity"),
        pytest.param(nvml({**LEAST, "power_limit_w": 1e300}), "$.gpus[0].power_limit_w", id="huge watts"),
        pytest.param(nvml({**LEAST, "temperature_c": -5000}), "$.gpus[0].temperature_c", id="too cold"),
        pytest.param(
            nvml({**LEAST, "link": {"width": "16"}}), "$.gpus[0].link.width", id="text for a number"
        ),
        pytest.param(nvml({**LEAST, "is_mig_on": 1}), "$.gpus[0].is_mig_on", id="a number for a truth"),
        pytest.param(nvml({**LEAST, "mig": [{}] * 17}), "$.gpus[0].mig", id="many MIG devices"),
        pytest.param(
            nvml({**LEAST, "mig": [{"uuid": "", "profile": "", "memory_mib": 0}]}),
            "'uuid'",
            id="MIG without a UUID",
        ),
        pytest.param(
            nvml({**LEAST, "processes": [{"pid": 1, "name": "", "memory_mib": 0}] * 257}),
            "$.gpus[0].processes",
            id="many processes",
        ),
        pytest.param(nvml(*({**LEAST, "index": 0} for _ in range(GPU_LIMIT + 1))), "$.gpus", id="many cards"),
    ],
)
def test_what_the_format_does_not_allow_is_named(output: bytes, named: str) -> None:
    """The field stands in the message, and nothing is guessed."""
    assert named in complaint(output)


@pytest.mark.parametrize(
    "output",
    [b"", b"\xff\xfe", framed("empty", nonce="other"), framed("empty")[:-7], b"ionet-probe-end\tn0nce\n"],
)
def test_what_did_not_arrive_whole_is_worth_a_retry(output: bytes) -> None:
    """A torn output is the connection's fault."""
    with pytest.raises(HostUnreachableError) as caught:
        read(output)
    assert (caught.value.code, caught.value.transient) == ("probe_incomplete", True)
    assert caught.value.hint


def test_a_card_without_a_uuid_is_lost() -> None:
    """nvidia-smi goes on listing a card that does not answer any more."""
    reading = read(framed(ROW, "gpu\t1\tNVIDIA GeForce RTX 4090\t\t\t", "source\tnvidia-smi"))
    assert [(card.uuid, card.is_lost) for card in reading.gpus or ()] == [("GPU-1", False), ("", True)]


def answer_to(output: bytes) -> GpuReading | str:
    """The reading, or the message of the refusal."""
    try:
        return read(output)
    except HostError as error:
        return error.message


@given(st.binary(max_size=400))
def test_no_bytes_do_harm(noise: bytes) -> None:
    """Whatever stands between the lines is read, or refused in a line that can be shown."""
    answer = answer_to(b"ionet-probe\t1\tn0nce\n" + noise + b"\nionet-probe-end\tn0nce\n")
    assert isinstance(answer, GpuReading) or answer.isprintable()


@pytest.mark.parametrize("name", ["gpus", "took_ms", "driver_version", "error"])
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=8
    )
)
def test_no_json_does_harm(name: str, value: object) -> None:
    """Any value in the place of any other is read or refused."""
    answer = answer_to(nvml(**{name: value}))
    assert isinstance(answer, GpuReading) or answer.isprintable()


@pytest.mark.parametrize(
    ("on_bus", "promise", "expected"),
    [
        (0, GpuPromise(), False),
        (0, GpuPromise(count=0), False),
        (0, GpuPromise("rtx-4090", 0), False),
        (0, GpuPromise("rtx-4090"), True),
        (0, GpuPromise(count=8), True),
        (8, GpuPromise(), True),
        (8, GpuPromise(count=0), True),
        (None, GpuPromise(), True),
    ],
)
def test_hosts_are_probed_where_gpus_may_be(
    on_bus: int | None, promise: GpuPromise, *, expected: bool
) -> None:
    """Only a bus without NVIDIA devices on a host that promises none needs no probe."""
    facts = replace(BARE, machine=MachineFacts(gpus_on_bus=on_bus))
    assert needs_probe(replace(HOST, gpus=promise), facts) is expected


def test_a_host_without_devices_has_no_gpus() -> None:
    """The PCI bus is as reliable as a probe."""
    assert without_probe(BARE) == GpuReading((), "pci")
