"""Cases of the checks of mining."""

from __future__ import annotations

from typing import Final

from ionetctl.checks.mining import MINING_OS
from ionetctl.core.model.host import RigPromise
from ionetctl.core.observed import MiningSign, Rig, Workload
from ionetctl.mining import SYSTEMS
from tests.checks.host_case import Case

UNIT: Final = MiningSign("unit", "rig.service")
LOGIN: Final = MiningSign("start_file", "/etc/rc.local")
HIVE: Final = Rig("HiveOS", "0.6-201", "123456", "rig's 07")
NIGHT: Final = (
    "HiveOS '0.6-201', rig 'rigs 07': unless it is stopped for good, cron starts its agent again within ten minutes, the agent "
    "starts the miner when the panel says so, or was silent for five minutes and its watchdog reboots the rig when the miner "
    "is slow or the load is high"
)
PANEL: Final = SYSTEMS["HiveOS"].panel

CASES: Final = (
    Case(
        ("miner_running block",),
        machine={"miners": (Workload("t-rex", 9, "miner.service"), Workload("lolMiner", 8))},
        message="a miner runs: lolMiner, t-rex (miner.service)",
    ),
    Case(
        ("miner_running block",),
        machine={"miners": (Workload("t-rex", 9),), "mining_signs": (UNIT, LOGIN)},
        message="a miner runs: t-rex; and it will be started by start file /etc/rc.local, unit rig.service",
    ),
    Case(
        ("miner_running block",),
        machine={"mining_signs": (UNIT,)},
        message="a miner will be started by unit rig.service",
    ),
    Case(machine={"mining_signs": ()}),
    Case(machine={"mining_signs": None}),
    Case(
        ("mining_os block",),
        machine={"rig": HIVE, "mining_signs": (UNIT,)},
        message=NIGHT,
        hint=f"{PANEL}; then {MINING_OS.remedy}",
    ),
    Case(
        ("mining_os block",),
        machine={"rig": Rig("HiveOS", None, "7"), "mining_signs": None},
        message=NIGHT.replace("0.6-201", "unknown").replace("rigs 07", "7"),
        hint=f"{PANEL}; then {MINING_OS.remedy}",
    ),
    Case(
        ("mining_os info",),
        machine={"rig": Rig("HiveOS"), "mining_signs": ()},
        message="HiveOS 'unknown', rig 'unknown': nothing starts its miner any more",
        hint=f"nothing to do here; {PANEL}, so that nobody starts it there",
    ),
    Case(
        ("mining_os block", "miner_running block"),
        machine={"rig": HIVE, "mining_signs": (UNIT,), "miners": (Workload("t-rex", 9),)},
        message=NIGHT,
        hint=f"{PANEL}; then {MINING_OS.remedy}",
    ),
    Case(
        ("mining_os_unknown block",),
        machine={"rig": Rig("RaveOS"), "mining_signs": ()},
        message="RaveOS 'unknown', rig 'unknown': no public source says what starts its miner again",
    ),
    Case(
        ("mining_os_unknown block", "rig_mismatch block"),
        host={"rig": RigPromise(id="8", name="rig08")},
        machine={"rig": Rig("RaveOS", None, "7", "rig07")},
    ),
    *(
        Case(
            ("mining_os_unknown block", *(["rig_mismatch block"] if is_other else [])),
            host={"rig": RigPromise(id=rig_id, name=name)},
            machine={"rig": Rig("RaveOS", None, "7", "rig07")},
        )
        for rig_id, name, is_other in (
            ("7", "rig07", False),
            (None, None, False),
            ("8", "rig07", True),
            ("7", "rig08", True),
        )
    ),
    Case(
        ("mining_os_unknown block",),
        host={"rig": RigPromise(id="7", name="rig07")},
        machine={"rig": Rig("RaveOS")},
    ),
    Case(host={"rig": RigPromise(id="7", name="rig07")}),
)
