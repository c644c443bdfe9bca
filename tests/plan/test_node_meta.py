"""What a node says of itself is known, stable, and about the GPUs that jobs may get."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from ionetctl.core.model.host import GpuPromise, Host, Reserve, RigPromise
from ionetctl.core.observed import Driver, MachineFacts, MigInstance, Rig, SeenGpu
from ionetctl.plan.bundle import meta_of, offered_gpus
from ionetctl.plan.node_meta import memory_gib, network_class, node_class_of, power_w
from tests.support.sample import BARE, HOST, bundle, promised

if TYPE_CHECKING:
    from ionetctl.core.model.facts import Facts

A100: Final = SeenGpu(0, "NVIDIA A100-PCIE-40GB", "GPU-1", 40_960)
SLICED: Final = replace(A100, mig=(MigInstance("MIG-1", "1g.5gb"), MigInstance("MIG-2", "1g.5gb")))
RTX_3090: Final = SeenGpu(1, "NVIDIA GeForce RTX 3090", "GPU-2", 24_576)
LOST: Final = SeenGpu(1, "", "GPU-2", is_lost=True)


def seeing(*gpus: SeenGpu) -> Facts:
    """The host with other GPUs."""
    return replace(BARE, gpus=gpus)


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ((A100,), "nvidia.a100.pcie.40gb"),
        ((SLICED,), "nvidia.a100.pcie.40gb.mig.1g.5gb"),
        ((RTX_3090, A100, RTX_3090), "nvidia.a100.pcie.40gb,nvidia.rtx.3090.24gb"),
        ((A100, LOST), "nvidia.a100.pcie.40gb"),
        ((), None),
    ],
)
def test_gpus_are_named(gpus: tuple[SeenGpu, ...], expected: str | None) -> None:
    """Each model once and sorted, slices in place of what is sliced, and no name for a card that has none."""
    assert meta_of(HOST, seeing(*gpus)).get("ionet_gpus") == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (HOST, "2"),
        (promised(None, 8), "8"),
        (replace(promised(None, 8), reserve=Reserve(gpus=("0",))), "7"),
        (replace(HOST, reserve=Reserve(gpus=("0",))), "1"),
        (promised(None, 0), None),
    ],
)
def test_gpus_are_counted(host: Host, expected: str | None) -> None:
    """As promised, else as seen, less what is held back."""
    assert meta_of(host, seeing(A100, RTX_3090)).get("ionet_gpu_count") == expected


def test_gpus_that_nobody_gets_are_not_reported() -> None:
    """A host that is to offer none says nothing of its GPUs, its driver and their power; one that is to, does."""
    facts = replace(
        BARE, driver_version="550.54.15", cuda_version="12.4", gpus=(replace(A100, power_limit_w=250),)
    )
    reported = {key for key in meta_of(HOST, facts) if key not in meta_of(promised(None, 0), facts)}
    assert reported == {"ionet_gpus", "ionet_gpu_count", "ionet_driver", "ionet_cuda", "ionet_power_w"}


@pytest.mark.parametrize(
    ("module", "nvml", "expected"),
    [("550.54.15", None, "550.54.15"), (None, "550.90", "550.90"), ("550.54.15", "550.90", "550.54.15")],
)
def test_driver_is_the_loaded_one(module: str | None, nvml: str | None, expected: str) -> None:
    """The kernel's version comes first, since it is there when NVML does not answer."""
    facts = replace(BARE, driver_version=nvml, machine=MachineFacts(driver=Driver(module)))
    assert meta_of(HOST, facts)["ionet_driver"] == expected


@pytest.mark.parametrize(
    ("mbps", "expected"),
    [(None, None), (9, None), (10, "10m"), (999, "100m"), (1000, "1g"), (12_000, "10g"), (10**7, "800g")],
)
def test_network_classes(mbps: int | None, expected: str | None) -> None:
    """The fastest Ethernet that the line fills."""
    assert network_class(mbps) == expected


@pytest.mark.parametrize(
    ("seen_mib", "expected"),
    [
        (None, None),
        (0, None),
        (900, 1),
        (3_915, 4),
        (7_945, 8),
        (31_950, 32),
        (64_217, 64),
        (64_301, 64),
        (96_450, 96),
        (128_611, 128),
        (257_540, 256),
        (515_600, 512),
        (1_031_900, 1_024),
    ],
)
def test_memory_is_what_was_built_in(seen_mib: int | None, expected: int | None) -> None:
    """What kernels show of usual sizes gives those sizes, whatever the kernel keeps for itself."""
    assert memory_gib(seen_mib) == expected


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([(450.0, 300.0), (450.0, 450.0)], 900),
        ([(None, 346.5)], 350),
        ([(450.0, None), (None, None)], None),
        ([], None),
    ],
)
def test_power_is_by_default_limits(
    limits: list[tuple[float | None, float | None]], expected: int | None
) -> None:
    """Default limits are summed, the one in force stands in, and one that is unknown makes the sum unknown."""
    gpus = [replace(A100, power_default_w=default, power_limit_w=now) for default, now in limits]
    assert power_w(gpus) == expected


@pytest.mark.parametrize(
    ("os_id", "version", "expected"),
    [
        ("ubuntu", "24.04", "ubuntu-24.04"),
        ("debian", "12", "debian-12"),
        ("rocky", "9.4", "rocky-9"),
        ("", "", None),
        ("arch", "", "arch"),
    ],
)
def test_os_is_reported_as_far_as_it_stays(os_id: str, version: str, expected: str | None) -> None:
    """The Red Hat family's minor version moves with daily updates, and is left out."""
    assert meta_of(HOST, replace(BARE, os_id=os_id, os_version=version)).get("ionet_os") == expected


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (None, None),
        ("", None),
        ("Dell Inc.  PowerEdge R740 ", "Dell Inc. PowerEdge R740"),
        ("To Be Filled By O.E.M. To Be Filled By O.E.M.", None),
        ("System manufacturer System Product Name", None),
        ("ASUS System Product Name", "ASUS"),
    ],
)
def test_placeholders_are_no_product(product: str | None, expected: str | None) -> None:
    """What boards say whose maker wrote nothing is left out."""
    facts = replace(BARE, machine=MachineFacts(product=product))
    assert meta_of(HOST, facts).get("ionet_product") == expected


@pytest.mark.parametrize(
    ("architecture", "expected"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")]
)
def test_architecture_has_its_release_name(architecture: str, expected: str) -> None:
    """As Nomad's releases are named; others as they are."""
    assert meta_of(HOST, replace(BARE, architecture=architecture))["ionet_arch"] == expected


@pytest.mark.parametrize(
    ("host", "gpus", "expected"),
    [
        (HOST, (RTX_3090, RTX_3090), "nvidia.rtx.3090.24gb"),
        (HOST, (RTX_3090, A100), "mixed-gpu"),
        (HOST, (SLICED,), "nvidia.a100.pcie.40gb"),
        (HOST, (A100, LOST), "nvidia.a100.pcie.40gb"),
        (HOST, (), "cpu"),
        (HOST, None, None),
        (promised(None, 0), (RTX_3090,), "cpu"),
        (promised(None, 0), None, "cpu"),
        (promised(None, 2), (), None),
        (promised(None, 2), (LOST,), None),
        (replace(HOST, reserve=Reserve(gpus=("1",))), (A100, RTX_3090), "nvidia.a100.pcie.40gb"),
        (replace(HOST, node_class="dgx"), (RTX_3090,), "dgx"),
    ],
)
def test_class_follows_the_gpus(host: Host, gpus: tuple[SeenGpu, ...] | None, expected: str | None) -> None:
    """The inventory's class, else that of the GPUs which jobs may get; none where nobody could say."""
    facts = replace(BARE, gpus=gpus)
    assert node_class_of(host, facts, offered_gpus(host, facts)) == expected


def test_a_rig_s_identity_is_meta_on_request() -> None:
    """What its panel calls the host, on one line, where the inventory asks for it."""
    facts = replace(BARE, machine=MachineFacts(rig=Rig("HiveOS", "0.6-201", None, " rig\n07 ")))
    asked = replace(HOST, rig=RigPromise(id="7", meta=True))
    added = set(meta_of(asked, facts).items()) - set(meta_of(HOST, facts).items())
    assert added == {("ionet_rig_system", "HiveOS"), ("ionet_rig_name", "rig 07")}
    assert meta_of(asked, BARE) == meta_of(HOST, BARE)


WAVERING: Final[tuple[dict[str, Any], ...]] = (
    {"kernel": "6.8.0-99-generic"},
    {"memory_mib": 31_800},
    {"clock_offset_s": 3.0},
    {"boot_id": None},
    {"gpu_source": "nvidia-smi"},
    {"machine": MachineFacts(swap_mib=1, hugepages_mib=2, needs_reboot=True, is_time_synchronized=False)},
    {
        "gpus": tuple(
            replace(seen, temperature_c=90, utilization_percent=99, power_limit_w=1.0, power_default_w=450.0)
            for seen in BARE.gpus or ()
        )
    },
)


@pytest.mark.parametrize("change", WAVERING, ids=lambda change: next(iter(change)))
def test_what_wavers_restarts_nobody(change: dict[str, Any]) -> None:
    """What moves by itself between two surveys does not reach the bundle's digest; what was changed does."""
    cards = tuple(replace(seen, power_default_w=450.0) for seen in BARE.gpus or ())
    before = replace(BARE, gpus=cards)
    assert bundle(facts=replace(before, **change)).digest == bundle(facts=before).digest
    assert bundle(facts=replace(before, os_version="26.04")).digest != bundle(facts=before).digest


def test_reserved_by_uuid_is_not_offered() -> None:
    """GPUs held back by index and by UUID are no part of what jobs may get."""
    host = replace(HOST, gpus=GpuPromise(None, None), reserve=Reserve(gpus=("0", "GPU-2")))
    assert offered_gpus(host, seeing(A100, RTX_3090)) == ()
