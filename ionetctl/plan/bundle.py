"""What a host should have: every managed path with its content.

Made from host, region, releases and templates; no I/O but reading templates. For a new file on the host, add a template
and a row in ``TEXT_FILES``. The client configuration has the placeholder ``STAMP``, so that the bundle's digest does not
depend on the stamp; the digest covers every file whose change requires a restart of the agent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ionetctl import __version__
from ionetctl.core import host_paths
from ionetctl.core.errors import HostFailedError
from ionetctl.core.model.names import Digest
from ionetctl.core.model.plan import Bundle, BundleFile, Kind, Program
from ionetctl.core.versions import denies_host_users, starts_ineligible
from ionetctl.plan import node_meta
from ionetctl.plan.templates import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ionetctl.core.model.facts import Facts
    from ionetctl.core.model.host import Host
    from ionetctl.core.model.inventory import Naming, RegionSettings, TaskDriver
    from ionetctl.core.observed import SeenGpu

STAMP: Final = "@ionet-stamp@"
DIGEST_CHARACTERS: Final = 16
"""How many digits of the bundle's digest the stamp has: 64 bits are enough to tell bundles apart."""

SUFFIX_CHARACTERS: Final = 8


@dataclass(frozen=True, slots=True)
class Door:
    """A maintenance door: the public keys whose words it heeds, and the program that reads them (``remote.maintenance_script``)."""

    signers: tuple[str, ...]
    script: bytes


@dataclass(frozen=True, slots=True)
class Subject:
    """The input of one host's bundle. ``node_name`` may differ from the host's name (``naming: unique``).

    ``drivers`` are the task drivers that jobs may use, ``door`` is the host's maintenance door.
    """

    host: Host
    node_name: str
    facts: Facts
    region: RegionSettings
    ca_pem: bytes
    nomad: Program
    device_plugin: Program | None
    drivers: tuple[TaskDriver, ...] = ("docker",)
    door: Door | None = None


@dataclass(frozen=True, slots=True)
class TextFile:
    """A row of the table: template, destination, mode, and whether a change requires a restart of the agent.

    ``belongs`` says which hosts get the file.
    """

    template: str
    path: str
    mode: int
    restarts: bool = True
    belongs: Callable[[Subject], bool] = lambda _: True


SHARED: Final = 128
"""How many files are kept that hosts have in common: most of a host's bundle is that of 10,000 others, and stored once."""

TEXT_FILES: Final[tuple[TextFile, ...]] = (
    TextFile("client.hcl.j2", host_paths.CLIENT_CONFIG, 0o640),
    TextFile("docker.hcl.j2", host_paths.DOCKER_CONFIG, 0o640),
    TextFile(
        "drivers.hcl.j2",
        host_paths.DRIVERS_CONFIG,
        0o640,
        belongs=lambda subject: subject.drivers != ("docker",),
    ),
    TextFile(
        "exec_chroot.sh.j2",
        host_paths.CHROOT_SCRIPT,
        0o755,
        belongs=lambda subject: has_own_chroot(subject.drivers),
    ),
    TextFile(
        "nvidia.hcl.j2",
        host_paths.NVIDIA_CONFIG,
        0o640,
        belongs=lambda subject: subject.device_plugin is not None,
    ),
    TextFile("start_agent.sh.j2", host_paths.START_SCRIPT, 0o755),
    TextFile("nomad.service.j2", host_paths.UNIT, 0o644),
    TextFile(
        "allowed_signers.j2",
        host_paths.ALLOWED_SIGNERS,
        0o644,
        restarts=False,
        belongs=lambda subject: subject.door is not None,
    ),
    TextFile(
        "ionet-maintenance.path.j2",
        host_paths.MAINTENANCE_PATH,
        0o644,
        belongs=lambda subject: subject.door is not None,
    ),
    TextFile(
        "ionet-maintenance.service.j2",
        host_paths.MAINTENANCE_SERVICE,
        0o644,
        belongs=lambda subject: subject.door is not None,
    ),
    TextFile("HOWTO.md.j2", host_paths.HOWTO, 0o644, restarts=False),
)


HIDDEN_VARIABLES: Final = (
    *("CONSUL_TOKEN", "CONSUL_HTTP_TOKEN", "CONSUL_HTTP_AUTH", "CONSUL_CLIENT_KEY"),
    *("VAULT_TOKEN", "VAULT_CLIENT_KEY", "VAULT_ROLE_ID", "VAULT_SECRET_ID"),
    *("NOMAD_TOKEN", "NOMAD_LICENSE", "NOMAD_CLIENT_INTRO_TOKEN", "NOMAD_CLIENT_KEY"),
    *(
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_OAUTH_ACCESS_TOKEN",
    ),
    *("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "ARM_CLIENT_SECRET"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
    *("GITHUB_TOKEN", "DOCKER_AUTH_CONFIG", "SSH_AUTH_SOCK", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY"),
)
"""The variables that a task does not inherit; the list replaces Nomad's own, which it contains. Proxies may bear a password."""

CHROOT_DIRECTORIES: Final = ("/bin", "/lib", "/lib64", "/usr/lib", "/usr/lib64")
"""Where ``exec_chroot.sh`` puts tools and the libraries they load; Nomad passes over those that are not there."""


_CERTIFICATE: Final = BundleFile(host_paths.NODE_CERT, Kind.CERTIFICATE, 0o644, restarts=True)
_KEY: Final = BundleFile(host_paths.NODE_KEY, Kind.KEY, 0o600, restarts=True, is_secret=True)
_OWN_KEY: Final = BundleFile(host_paths.NODE_KEY, Kind.OWN_KEY, 0o600, restarts=True, is_secret=True)


def managed_paths(nomad_version: str, device_plugin_version: str) -> tuple[str, ...]:
    """Every path that a bundle of these releases may have: the paths that a survey looks at."""
    programs = (
        host_paths.nomad_program(nomad_version),
        host_paths.device_plugin_program(device_plugin_version),
    )
    links = (host_paths.NOMAD_LINK, f"{host_paths.PLUGIN_DIR}/{host_paths.DEVICE_PLUGIN}")
    tls = (host_paths.CA_CERT, host_paths.NODE_CERT, host_paths.NODE_KEY)
    return (*(row.path for row in TEXT_FILES), host_paths.MAINTENANCE_SCRIPT, *tls, *programs, *links)


def node_name(host: Host, facts: Facts, naming: Naming) -> str:
    """The node's name in its region; with ``unique`` a suffix tells apart hosts of the same name.

    The suffix is derived from the machine-id, so it stays the same until the host is reinstalled. Raises
    ``HostFailedError`` (``machine_id_missing``) for a host without one.
    """
    if naming == "as-written":
        return host.name
    if not facts.machine_id:
        hint = "create one with systemd-machine-id-setup, or use naming: as-written"
        raise HostFailedError(
            "machine_id_missing", "naming: unique needs a machine-id, and the host has none", hint
        )
    return f"{host.name}-{sha256(facts.machine_id.encode())[:SUFFIX_CHARACTERS]}"


def sha256(content: bytes) -> Digest:
    """The SHA-256 of some bytes."""
    return Digest(hashlib.sha256(content).hexdigest())


def build_bundle(subject: Subject) -> Bundle:
    """The bundle of one host.

    Raises ``ConfigurationError`` for a template that cannot be rendered.
    """
    files = (*_texts(subject), *_door(subject), *_programs(subject), *_tls(subject))
    ordered = tuple(sorted(files, key=lambda file: file.path))
    return Bundle(subject.host.name, _digest_of(ordered), ordered)


def with_stamp(content: bytes, stamp: str) -> bytes:
    """A file's content with the stamp filled in."""
    return content.replace(STAMP.encode(), stamp.encode())


def new_stamp(bundle: Bundle, nonce: str) -> str:
    """``<bundle digest>-<nonce>``: which bundle, and which apply of it."""
    return f"{bundle.digest[:DIGEST_CHARACTERS]}-{nonce}"


def with_door(subject: Subject, door: Door) -> Subject:
    """The same host with a maintenance door, whose task's driver jobs may use then; unchanged where nobody may sign, or the host lacks what a door needs."""
    facts = subject.facts
    if not (door.signers and facts.machine.verifies_signatures and facts.has_openssl):
        return subject
    return replace(subject, door=door, drivers=tuple(sorted({*subject.drivers, "exec"})))


def has_own_chroot(drivers: Iterable[TaskDriver]) -> bool:
    """Whether ``exec`` tasks get a root of a few tools; a virtual machine of ``java`` would need all of the host's /usr."""
    return "exec" in drivers and "java" not in drivers


def wants_gpus(host: Host, facts: Facts) -> bool:
    """Whether the host should offer GPUs: by the inventory, else by the probe."""
    return bool(facts.gpus) if host.gpus.count is None else host.gpus.count > 0


def ignored_gpus(host: Host, facts: Facts) -> tuple[str, ...]:
    """The UUIDs held back from jobs; indices are looked up in the survey, unknown ones are left out."""
    by_index = {str(seen.index): seen.uuid for seen in facts.gpus or ()}
    known = (by_index.get(name, name) for name in host.reserve.gpus)
    return tuple(name for name in known if not name.isdecimal())


def ignored_devices(host: Host, facts: Facts) -> tuple[str, ...]:
    """The UUIDs that the device plugin must not offer: GPUs held back from jobs, and their MIG instances, which the plugin lists instead."""
    held_back = ignored_gpus(host, facts)
    sliced = (seen for seen in facts.gpus or () if seen.uuid in held_back)
    return (*held_back, *(instance.uuid for seen in sliced for instance in seen.mig))


def offered_gpus(host: Host, facts: Facts) -> tuple[SeenGpu, ...]:
    """The GPUs of the probe that jobs may get: without those that are held back, none where the inventory promises none."""
    held_back = ignored_gpus(host, facts)
    wanted = facts.gpus if wants_gpus(host, facts) else ()
    return tuple(seen for seen in wanted or () if seen.uuid not in held_back)


def meta_of(host: Host, facts: Facts) -> dict[str, str]:
    """The client's meta: the inventory's keys, and those that ionetctl adds under ``ionet_``."""
    ours = node_meta.meta_of(host, facts, offered_gpus(host, facts))
    return {**host.meta, host_paths.STAMP_KEY: STAMP, host_paths.ADMISSION_KEY: host_paths.HELD, **ours}


def _context(subject: Subject) -> Mapping[str, object]:
    host, facts = subject.host, subject.facts
    return {
        "version": __version__,
        "node_name": subject.node_name,
        "region": str(host.region),
        "datacenter": host.datacenter,
        "servers": list(subject.region.servers),
        "node_pool": host.node_pool,
        "node_class": node_meta.node_class_of(host, facts, offered_gpus(host, facts)) or "",
        "starts_ineligible": starts_ineligible(subject.nomad.version),
        "meta": meta_of(host, facts),
        "reserved": _reserved(host),
        "plugin": host_paths.DEVICE_PLUGIN,
        "ignored_gpus": list(ignored_devices(host, facts)),
        "drivers": subject.drivers,
        "has_chroot": has_own_chroot(subject.drivers),
        "denies_users": denies_host_users(subject.nomad.version),
        "hidden_variables": HIDDEN_VARIABLES,
        "chroot_directories": CHROOT_DIRECTORIES,
        "has_door": subject.door is not None,
        "signers": subject.door.signers if subject.door else (),
        "allowed_signers": host_paths.ALLOWED_SIGNERS,
        "maintenance_script": host_paths.MAINTENANCE_SCRIPT,
        "drop_dir": host_paths.DROP_DIR,
        "answers_dir": host_paths.ANSWERS_DIR,
        "chroot_dir": host_paths.CHROOT_DIR,
        "chroot_script": host_paths.CHROOT_SCRIPT,
        "start_script": host_paths.START_SCRIPT,
        "program": host_paths.NOMAD_LINK,
        "nomad_link": host_paths.NOMAD_LINK,
        "config_dir": host_paths.CONFIG_DIR,
        "tls_dir": host_paths.TLS_DIR,
        "data_dir": host_paths.DATA_DIR,
        "state_dir": host_paths.STATE_DIR,
        "plugin_dir": host_paths.PLUGIN_DIR,
        "releases_dir": host_paths.RELEASES_DIR,
        "our_dir": host_paths.OUR_DIR,
        "unit": host_paths.UNIT_NAME,
        "ca_file": host_paths.CA_CERT,
        "cert_file": host_paths.NODE_CERT,
        "key_file": host_paths.NODE_KEY,
    }


def _reserved(host: Host) -> dict[str, object]:
    reserve = host.reserve
    cores = None if not reserve.cpu_cores else f"0-{reserve.cpu_cores - 1}" if reserve.cpu_cores > 1 else "0"
    wanted: dict[str, object | None] = {
        "cores": cores,
        "memory": reserve.memory_mib,
        "disk": reserve.disk_mib,
    }
    return {key: value for key, value in wanted.items() if value is not None}


def _texts(subject: Subject) -> list[BundleFile]:
    context = _context(subject)
    return [_text(row, render(row.template, context)) for row in TEXT_FILES if row.belongs(subject)]


@lru_cache(maxsize=SHARED)
def _text(row: TextFile, content: bytes) -> BundleFile:
    return BundleFile(row.path, Kind.FILE, row.mode, row.restarts, content=content, digest=sha256(content))


def _door(subject: Subject) -> list[BundleFile]:
    return [_script(host_paths.MAINTENANCE_SCRIPT, subject.door.script)] if subject.door else []


@lru_cache(maxsize=SHARED)
def _script(path: str, content: bytes) -> BundleFile:
    return BundleFile(path, Kind.FILE, 0o700, restarts=False, content=content, digest=sha256(content))


def _programs(subject: Subject) -> list[BundleFile]:
    nomad_path = host_paths.nomad_program(subject.nomad.version)
    files = [_program(nomad_path, subject.nomad), _link(host_paths.NOMAD_LINK, nomad_path)]
    if plugin := subject.device_plugin:
        plugin_path = host_paths.device_plugin_program(plugin.version)
        files += [
            _program(plugin_path, plugin),
            _link(f"{host_paths.PLUGIN_DIR}/{host_paths.DEVICE_PLUGIN}", plugin_path),
        ]
    return files


@lru_cache(maxsize=SHARED)
def _program(path: str, program: Program) -> BundleFile:
    return BundleFile(path, Kind.PROGRAM, 0o755, restarts=True, digest=program.digest, program=program)


@lru_cache(maxsize=SHARED)
def _link(path: str, target: str) -> BundleFile:
    return BundleFile(path, Kind.LINK, 0o777, restarts=True, target=target, digest=sha256(target.encode()))


def _tls(subject: Subject) -> list[BundleFile]:
    key = _OWN_KEY if subject.region.tls.key_on_host else _KEY
    return [_authority(subject.ca_pem), _CERTIFICATE, key]


@lru_cache(maxsize=SHARED)
def _authority(ca_pem: bytes) -> BundleFile:
    digest = sha256(ca_pem)
    return BundleFile(host_paths.CA_CERT, Kind.FILE, 0o644, restarts=True, content=ca_pem, digest=digest)


def _digest_of(files: tuple[BundleFile, ...]) -> Digest:
    lines = (f"{file.path}\t{file.mode:o}\t{file.owner}\t{file.digest}\n" for file in files if file.restarts)
    return sha256("".join(lines).encode())
