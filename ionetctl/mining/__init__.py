"""Systems made for mining, as data: how each is recognised, what starts its miner, and what must live on without it. Pure."""

from ionetctl.mining.systems import PLAIN, SYSTEMS, Identity, MiningSystem, WatchdogCard, system_of

__all__ = ["PLAIN", "SYSTEMS", "Identity", "MiningSystem", "WatchdogCard", "system_of"]
