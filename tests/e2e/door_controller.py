"""The controller's side of the maintenance door as a program, to be run where the region can be reached.

``setup`` registers the job and prints what it did and which namespaces the token sees; ``send KEY`` signs the text on standard input, for the
word whose fields are in ``WORD`` (JSON), sends it and prints the answer. ``INVENTORY`` names the inventory, whose only region is meant.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ionetctl.core.clock import SystemClock
from ionetctl.credentials.secrets import SecretStore
from ionetctl.credentials.word_signing import sign
from ionetctl.inventory.load import load_inventory
from ionetctl.maintenance.send_word import send_word
from ionetctl.nomad import NomadRegion
from ionetctl.plan.templates import static
from ionetctl.plan.word import NAMESPACE, Word, signed_word

if TYPE_CHECKING:
    from ionetctl.core.errors import IonetctlError


async def main(action: str, *arguments: str) -> Any:
    inventory = load_inventory(os.environ["INVENTORY"])
    (settings,) = inventory.regions.values()
    secrets = SecretStore(os.environ)
    secrets.resolve_all(settings.secrets)
    async with NomadRegion.open(settings, secrets.reveal) as region:
        if action == "setup":
            job = static("door.nomad.hcl")
            changes = [await region.door.set_up_job(job), await region.door.set_up_job(job)]
            seen = await region.namespaces()
            exec_in = {one.name: one.lets_run("exec") for one in seen.namespaces}
            return {"changes": changes, "namespaces": exec_in, "are_all": seen.are_all}
        text = sys.stdin.buffer.read()
        signature = await sign(text, arguments[0], NAMESPACE, os.environ)
        word = Word(**json.loads(os.environ["WORD"]))
        signed = signed_word(text, signature)
        return asdict(await send_word(region.door, word, signed, SystemClock(), warn))


async def warn(error: IonetctlError) -> None:
    raise error


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))  # noqa: T201  (that is what it is for)
