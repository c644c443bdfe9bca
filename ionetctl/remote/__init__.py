"""The programs that run on hosts: POSIX sh, and Python where NVML is asked; static, parameters are arguments.

What they read and write is described in ``docs/explanation/host-protocol.md`` and ``docs/explanation/gpu-probe.md``. This module hands out their
text, with the table of mining systems in it, and knows nothing else.
"""

from __future__ import annotations

import shlex
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

from ionetctl import __version__
from ionetctl.mining import PLAIN, SYSTEMS
from ionetctl.remote import packing
from ionetctl.remote.packing import bare_shell, pack, source_of, stripped
from ionetctl.remote.program_cache import kept

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ionetctl.mining import MiningSystem

Gpus = Literal["promised", "possible"]

READ_AT_ONCE: Final = b'if [ -n "${BASH_VERSION:-}" ]; then eval "$(cat)"; exit; fi\n'
"""Bash reads a script from a pipe byte by byte, so that programs can have the rest of it: here cat has all of it."""
_ENDS_UNLESS_SURVEYED: Final = b'status=$?\nif [ "$status" != 0 ]; then exit "$status"; fi'


def survey_source() -> bytes:
    """The survey as its parts are written, with their comments."""
    parts = ("machine", "disks", "network", "work", "mining")
    functions = _joined("programs", "lock", "docker", "mining_lines", *(f"survey_{part}" for part in parts))
    table = mining_table({**SYSTEMS, "-": PLAIN})
    return b"\n".join((functions, table.encode(), _text("survey.sh")))


@cache
def survey_and_probe_script(cache_directory: Path | None = None, *, gpus: Gpus) -> bytes:
    """The survey and after it the probe, as one program for the standard input of ``sh -s -- NONCE SERVERS PATH…``.

    GPUs that are only ``possible`` are not probed for where the PCI bus has none. Raises as ``probe_program`` does.
    """
    assigned = b"gpus=%s program='%s'" % (gpus.encode(), _packed_probe(cache_directory))
    probe = _probe_functions() + _text("then_probe.sh")
    parts = (
        b"{",
        assigned,
        b"(",
        survey_source(),
        b")",
        _ENDS_UNLESS_SURVEYED,
        b"(",
        probe,
        b")",
        b"exit 0",
        b"}",
    )
    return READ_AT_ONCE + bare_shell(b"\n".join(parts))


@cache
def receive_script() -> str:
    """What takes the lock and the payload: the third argument of ``sh -c … sh NONCE ROLLOUT OWNER STARTED FENCE LEASE DIGEST…``."""
    return bare_shell(_text("receive.sh")).decode()


@cache
def read_script() -> bytes:
    """What prints text files for ``--diff``, for the standard input of ``sh -s -- NONCE PATH…``."""
    return _text("read.sh")


@cache
def apply_script() -> bytes:
    """What carries out a payload; it travels as the payload's first member."""
    parts = ("dialogue", "certificate", "files", "stage", "backup", "install", "service")
    return _joined("programs", "settle", "report", "serial", *(f"apply_{part}" for part in parts), "apply")


@cache
def probe_script() -> str:
    """What has the GPUs asked: the third argument of ``sh -c … ionet-probe NONCE``."""
    return _text("probe_start.sh").decode()


@cache
def probe_program(cache_directory: Path | None = None) -> bytes:
    """What the probe takes from its standard input: its own text, the collector, and what that uses of pynvml.

    It is packed once for all processes that are given the same cache. Raises ``ImportError`` where the package is installed without pynvml.
    """
    return b'%sprobe "$@"\n%s' % (bare_shell(_probe_functions()), _packed_probe(cache_directory))


@cache
def prepare_script() -> bytes:
    """What carries out preparations; it travels in the place of an apply's script."""
    parts = ("packages", "machine", "gpus", "signs", "rigs", "miners")
    return _joined(
        "programs",
        "docker",
        "settle",
        "report",
        "mining_lines",
        *(f"prepare_{part}" for part in parts),
        "prepare",
    )


@cache
def restore_miner_script() -> bytes:
    """What puts a miner back that a preparation stopped; it stays on the host."""
    return b"#!/bin/sh\n" + _joined("programs", "settle", "restore_miner")


@cache
def maintenance_script() -> bytes:
    """The host's side of the maintenance door; it stays on the host, and carries out words by the dialogue of ``receive.sh``."""
    parts = (
        *("lock", "serial", "apply_files", "apply_backup", "apply_service", "obtain_fetch"),
        *("maintenance_word", "maintenance_node", "maintenance_apply", "maintenance_recover"),
    )
    receive = f"receive={shlex.quote(receive_script())}\n".encode()
    return b"#!/bin/sh\n" + b"\n".join(
        (_joined("programs", "settle", "report", *parts), receive, _text("maintenance.sh"))
    )


@cache
def close_ssh_script() -> bytes:
    """What takes a key out of ``authorized_keys``, for the standard input of ``sh -s -- NONCE TASK …``."""
    return READ_AT_ONCE + _joined("programs", "lock", "settle", "close_ssh")


@cache
def start_obtain_script() -> str:
    """What has files obtained: the third argument of ``sh -c … ionet-obtain NONCE DIGEST:BYTES…``."""
    return _text("start_obtain.sh").decode()


@cache
def obtain_script() -> bytes:
    """What that takes from its standard input before the line of source and seed: its own text, and the server's."""
    server = stripped(_text("seed_server.py").decode())
    return b"\n".join(
        (
            _joined("programs", "obtain_serve", "obtain_fetch"),
            f"seed_server={shlex.quote(server)}\n".encode(),
            _text("obtain.sh"),
        )
    )


@cache
def end_seed_script() -> str:
    """What ends a host's serving: the third argument of ``sh -c … sh UNIT``."""
    return _text("end_seed.sh").decode()


def mining_table(systems: Mapping[str, MiningSystem]) -> str:
    """The table of mining systems for a shell: one assignment; a line for each value, with its system and its kind."""
    rows = "\n".join("\t".join((name, *row)) for name, system in systems.items() for row in _rows(system))
    return f"mining_systems={shlex.quote(rows)}\n"


def _rows(system: MiningSystem) -> Iterator[tuple[str, ...]]:
    """What the survey needs of a system; an empty value is ``-``, since the shell takes several tabs for one."""
    yield from (("sign", path) for path in system.signs)
    yield from (("home", path) for path in system.homes)
    yield from (("spared", path) for path in system.spared)
    yield from (("screen", name) for name in system.screens)
    yield from (("start_file", path) for path in system.start_files)
    yield from (("card", card.process) for card in system.cards)
    if system.vpn_unit:
        yield "vpn_unit", system.vpn_unit
    if system.version_package:
        yield "version_package", system.version_package
    if system.version_file:
        yield "version_file", *system.version_file
    if identity := system.identity:
        yield "identity", identity.file, identity.name_key, identity.id_key or "-"


def _probe_functions() -> bytes:
    return _joined("programs", "probe")


@cache
def _packed_probe(cache_directory: Path | None) -> bytes:
    library, collector = source_of("pynvml"), _text("gpu_probe.py").decode()

    def packed() -> bytes:
        return pack(library, collector, always="NVML_ERROR_")

    sources = (__version__, source_of(packing.__name__), library, collector)
    return kept(cache_directory, sources, packed) if cache_directory else packed()


def _joined(*names: str) -> bytes:
    """One script of several parts: functions first, what calls them last."""
    return b"\n".join(_text(f"{name}.sh") for name in names)


def _text(name: str) -> bytes:
    return files(__name__).joinpath(name).read_bytes()
