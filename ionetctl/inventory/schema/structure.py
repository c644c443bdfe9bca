"""The structure of an inventory, as types that pydantic validates, and the JSON Schema made from them.

Editors show the docstrings below the fields. Single fields are checked in ``field_checks`` and ``endpoints``; ``regions``,
``merge`` and ``consistency`` go on from here.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Final, Literal, Required

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, with_config
from typing_extensions import TypedDict

from ionetctl.core.model.host import Become, Close, Overclocks
from ionetctl.core.model.inventory import Distribution, Introduction, Licence, Naming, TaskDriver
from ionetctl.core.model.outcome import Severity
from ionetctl.inventory.schema import endpoints, field_checks
from ionetctl.inventory.schema.field_checks import FieldError, Folded
from ionetctl.inventory.schema.field_types import (
    EACH_ONCE,
    NOT_EMPTY,
    STRICT,
    ApiUrl,
    Datacenter,
    HostKey,
    HostRegion,
    JumpHost,
    Leaf,
    Path,
    Port,
    PublicKey,
    Region,
    Secret,
    Server,
    Signer,
    Text,
    Word,
    as_list,
    one_of,
    whole,
)

Flag = Annotated[bool, Leaf(field_checks.flag, {"type": "boolean"})]

# --- a host's fields -------------------------------------------------------------------------------------------------


@with_config(STRICT)
class SshFields(TypedDict, total=False):
    """How hosts are reached; what is left out is for ~/.ssh/config to say."""

    user: Annotated[str, Leaf(field_checks.user)]
    """Whom to log in as."""
    port: Port
    """The SSH port; may be a range in step with the host's name."""
    identity: Annotated[
        tuple[Path, ...], BeforeValidator(as_list, json_schema_input_type=Path | tuple[Path, ...])
    ]
    """Private key files, tried in this order."""
    passphrase: Secret
    """What unlocks the private keys."""
    certificate: Path
    """An SSH user certificate for the first identity."""
    password: Secret
    """The login's password."""
    jump: Annotated[
        tuple[JumpHost, ...],
        BeforeValidator(endpoints.jump_chain, json_schema_input_type=JumpHost | tuple[JumpHost, ...]),
    ]
    """Jump hosts as user@host:port, nearest first: a list, or one text with commas; none goes directly."""
    host_key: Annotated[
        tuple[HostKey, ...], BeforeValidator(as_list, json_schema_input_type=HostKey | tuple[HostKey, ...])
    ]
    """The host's public keys or SHA256: fingerprints; where given, known_hosts is not asked."""
    host_ca: Annotated[
        tuple[PublicKey, ...],
        BeforeValidator(as_list, json_schema_input_type=PublicKey | tuple[PublicKey, ...]),
    ]
    """Public keys of the CAs that sign host certificates, beside those of known_hosts; where given, --accept-new takes no bare key."""
    become: Annotated[Become, one_of("auto", "root", "sudo")]
    """root logs in as root, sudo insists on sudo, auto uses sudo unless the login is root."""
    become_password: Secret
    """What sudo asks for; the login's password where left out."""
    agent: Flag
    """Whether keys of the SSH agent are offered."""
    close: Annotated[Close, one_of("off", "key")]
    """key takes the key that logged in out of the account's authorized_keys once the region has confirmed the node."""


@with_config(STRICT)
class GpuFields(TypedDict, total=False):
    """What GPUs a host was promised to have; left out means unknown."""

    model: Annotated[str, Leaf(field_checks.gpu_model)]
    """A short form such as rtx-4090 or h100-80gb, which fits every card of that kind."""
    count: Annotated[int, whole(0, 128)]
    """How many; 0 says that there is none."""


@with_config(STRICT)
class ExpectFields(TypedDict, total=False):
    """What a host was promised to have; the survey confirms it."""

    cpu_cores: Annotated[int, whole(1, 4096)]
    """Logical CPU cores."""
    memory_gib: Annotated[float, Leaf(field_checks.amount(65536), {"type": "number", "exclusiveMinimum": 0})]
    """Memory in GiB."""


@with_config(STRICT)
class ReserveFields(TypedDict, total=False):
    """What is held back from jobs."""

    cpu_cores: Annotated[int, whole(0, 4096)]
    """CPU cores."""
    memory_mib: Annotated[int, whole(0, 1 << 26)]
    """Memory in MiB."""
    disk_mib: Annotated[int, whole(0, 1 << 30)]
    """Disk in MiB."""
    gpus: tuple[Annotated[str, Leaf(field_checks.reserved_gpu)], ...]
    """GPUs by UUID (GPU-…) or index."""


RigWord = Annotated[str | Folded, Leaf(field_checks.folded(field_checks.text))]


@with_config(STRICT)
class RigFields(TypedDict, total=False):
    """What the panel of a mining system calls the host; the survey confirms it."""

    id: RigWord
    """The rig's number in the panel; may be a range in step with the host's name."""
    name: RigWord
    """The rig's name in the panel; may be a range in step with the host's name."""
    meta: Flag
    """Write the system's name and the rig's number and name, as the survey sees them, into the node's meta."""


@with_config(STRICT)
class LocationFields(TypedDict, total=False):
    """Where a host stands."""

    country: Annotated[str, Leaf(field_checks.country)]
    """Two letters of ISO 3166."""
    city: Text
    """The city's name."""


@with_config(STRICT)
class NetworkFields(TypedDict, total=False):
    """What a host's line carries."""

    mbps: Annotated[int, whole(1, 10_000_000)]
    """Megabits a second."""


@with_config(STRICT)
class CheckFields(TypedDict):
    """What the site says of one check."""

    severity: Annotated[Severity, one_of("waived", "info", "warn", "block")]
    """waived keeps the finding and lets it count for nothing; the others lower or raise it."""
    reason: Text
    """Why; recorded with every finding."""


@with_config(STRICT)
class PrepareFields(TypedDict, total=False):
    """What an apply may do to a host so that it can be enrolled; all off unless asked for."""

    docker: Flag
    """Install Docker and start it."""
    docker_userns: Flag
    """Give Docker's containers users of their own; a Docker that runs is restarted, unless containers run."""
    container_toolkit: Flag
    """Install the NVIDIA container toolkit and enter its runtime into Docker's configuration."""
    cni: Flag
    """Install the CNI reference plugins."""
    driver: Annotated[str, Leaf(field_checks.driver_branch)]
    """Install the NVIDIA driver of this branch, such as 550."""
    modules: Flag
    """Load bridge, br_netfilter and overlay, now and at every boot."""
    time_sync: Flag
    """Switch time synchronization on."""
    firewall: Flag
    """Let TCP 4647 out through the host's own firewall."""
    persistence: Flag
    """Keep the driver loaded (persistence mode)."""
    stop_miner: Flag
    """Stop miners and all that starts them; what undoes it stays on the host."""
    overclocks: Annotated[Overclocks, one_of("reset", "keep")]
    """Whether stop_miner sets clocks and power limits back to default."""
    reboot: Flag
    """Allow the reboot that a new driver needs."""
    packages: Path
    """A directory of .deb files, for sites without a way out."""


@with_config(STRICT)
class PlacementFields(TypedDict, total=False):
    """What limits region: auto."""

    regions: Annotated[tuple[Region, ...], NOT_EMPTY]
    """The regions that may be chosen; all of the inventory's when left out."""
    max_rtt_ms: Annotated[float, Leaf(field_checks.amount(10_000), {"type": "number", "exclusiveMinimum": 0})]
    """The longest round trip to a region's servers, in milliseconds."""


@with_config(STRICT)
class HostFields(TypedDict, total=False):
    """What can be said of a host: here for all, in a group for its hosts, at a host for itself."""

    region: HostRegion
    """The Nomad region that the host joins: one of regions, or auto for the nearest that has room."""
    datacenter: Datacenter
    """The Nomad datacenter."""
    rack: Annotated[str | Folded, Leaf(field_checks.folded(field_checks.word, strict=True))]
    """The rack; may be a range in step with the host's name."""
    node_pool: Annotated[str, Leaf(field_checks.node_pool)]
    """The Nomad node pool; default when left out."""
    node_class: Word
    """The Nomad node class."""
    tags: tuple[Annotated[str, Leaf(field_checks.tag)], ...]
    """Words to select jobs by."""
    meta: dict[
        Annotated[str, Leaf(field_checks.meta_key)],
        Annotated[str | Folded, Leaf(field_checks.folded(field_checks.text))],
    ]
    """Client meta, text by text; values may be ranges in step with the host's name."""
    checks: dict[Annotated[str, Leaf(field_checks.check_code)], CheckFields]
    """Checks to be waived, lowered or raised, by code; each with a reason."""
    prepare: PrepareFields
    placement: PlacementFields
    gpus: GpuFields
    expect: ExpectFields
    reserve: ReserveFields
    rig: RigFields
    location: LocationFields
    network: NetworkFields
    ssh: SshFields


@with_config(STRICT)
class HostEntry(HostFields, total=False):
    """A host, or as many as its name's ranges stand for."""

    name: Required[Annotated[str | Folded, Leaf(field_checks.folded(field_checks.host_name, strict=True))]]
    """The name of the node; may have ranges."""
    address: Annotated[str | Folded, Leaf(field_checks.folded(endpoints.address, strict=True))]
    """IP address or DNS name, the name when left out; may have ranges, in step with the name's."""


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Entry = Annotated[HostEntry, BeforeValidator(_named, json_schema_input_type=Text | HostEntry)]


@with_config(STRICT)
class GroupFields(HostFields, total=False):
    """Hosts that have something in common."""

    hosts: tuple[Entry, ...]
    """The group's hosts."""


# --- regions and the whole -------------------------------------------------------------------------------------------


@with_config(STRICT)
class PairFields(TypedDict):
    """A certificate and its private key."""

    cert: Path
    """The certificate in PEM, with its chain where it has one."""
    key: Secret
    """Where its private key is to be had."""


@with_config(STRICT)
class VaultRoleFields(TypedDict):
    """A role of Vault's or OpenBao's PKI engine."""

    mount: Annotated[str, Leaf(field_checks.vault_mount)]
    """Where the engine is mounted."""
    role: Word
    """The role, which signs what it is sent."""


@with_config(STRICT)
class IssuerFields(TypedDict, total=False):
    """What issues nodes' certificates: the region's CA, or an intermediate of it, or a role of Vault that has one."""

    cert: Path
    """The CA's certificate in PEM, with those between it and the root."""
    key: Secret
    """Where its private key is to be had."""
    vault: VaultRoleFields
    """Vault's PKI engine, instead of cert and key."""
    validity: Annotated[int, Leaf(field_checks.days, {"type": "string", "pattern": "^[0-9]+d$"})]
    """How long a node's certificate lives, such as 1825d (the default); never beyond the CA's own life."""
    key_on_host: Flag
    """Each host makes its node's private key itself, with openssl; only a request for a certificate leaves it."""


def _one_issuer(given: IssuerFields) -> IssuerFields:
    has_pair, has_vault = {"cert", "key"} <= given.keys(), "vault" in given
    if has_pair == has_vault or (has_vault and {"cert", "key"} & given.keys()):
        raise FieldError(
            "needs either cert and key, or vault",
            "{cert, key} is a CA whose key is at hand, {vault: {mount, role}} one that Vault has",
        )
    return given


@with_config(STRICT)
class TlsFields(TypedDict, total=False):
    """TLS material of a region: either issuer or node."""

    ca: Required[Path]
    """The CA certificates that the region's servers and API are checked against."""
    client: PairFields
    """Our own certificate for the API."""
    server_name: Annotated[str, Leaf(field_checks.host_name)]
    """What the API's certificate must bear; server.<region>.nomad when left out."""
    issuer: Annotated[IssuerFields, AfterValidator(_one_issuer)]
    """The CA by which a certificate is issued for each node."""
    node: PairFields
    """A ready pair, the same for every node."""


def _one_certifier(given: TlsFields) -> TlsFields:
    if ("issuer" in given) == ("node" in given):
        raise FieldError(
            "needs exactly one of issuer and node",
            "issuer: {cert, key} is the CA that issues a certificate per node, node: {cert, key} a ready pair",
        )
    return given


@with_config(STRICT)
class RegionFields(TypedDict, total=False):
    """A Nomad region."""

    api: Required[Annotated[tuple[ApiUrl, ...], NOT_EMPTY]]
    """https URLs of the servers' API; the next one is tried where one does not answer."""
    servers: Required[Annotated[tuple[Server, ...], NOT_EMPTY]]
    """RPC addresses of the servers, as the nodes reach them."""
    token: Required[Secret]
    """Our ACL token there (node:write, agent:read, node_pool:read)."""
    tls: Required[Annotated[TlsFields, AfterValidator(_one_certifier)]]
    introduction: Annotated[Introduction, one_of("auto", "required", "off")]
    """Whether nodes are introduced by a token of their own (Nomad 1.11 and later)."""
    capacity: Annotated[int, whole(1, 1_000_000)]
    """How many nodes the region carries; 10000 when left out."""


@with_config(STRICT)
class NomadFields(TypedDict, total=False):
    """Which releases the hosts get, and which of their drivers jobs may use."""

    version: Required[Annotated[str, Leaf(field_checks.release)]]
    """The Nomad release."""
    device_plugin_version: Required[Annotated[str, Leaf(field_checks.release)]]
    """The release of nomad-device-nvidia."""
    mirror: Annotated[str, Leaf(endpoints.mirror, in_directory=True)]
    """A directory or https URL laid out as releases.hashicorp.com; that site when left out."""
    own_builds: Flag
    """The mirror has builds of your own instead of the vendor's releases; they need no signature unless signing_fingerprint is given."""
    signing_key: Path
    """A file with the OpenPGP key that signs the releases; the vendor's is known."""
    signing_fingerprint: Annotated[str, Leaf(field_checks.openpgp_fingerprint)]
    """That key's fingerprint; the vendor's when left out."""
    allow_downgrade: Flag
    """Hosts that run a newer Nomad get this version all the same."""
    licence: Annotated[Licence, one_of("mpl-only")]
    """mpl-only refuses releases under the Business Source License: 1.7 and later, 1.6.6, 1.5.13."""
    drivers: Annotated[
        tuple[Annotated[TaskDriver, one_of("docker", "exec", "java", "qemu", "raw_exec")], ...], NOT_EMPTY
    ]
    """The task drivers that jobs may use; docker alone when left out. Whoever may submit jobs for any other is root on the hosts, or nearly."""


def _door_driver(value: object) -> str:
    """By what the door's task runs in the region."""
    if value == "raw_exec":
        raise FieldError("raw_exec is not supported yet", "leave it out: the door's task runs by exec")
    return field_checks.choice("exec")(value)


@with_config(STRICT)
class MaintenanceFields(TypedDict, total=False):
    """The maintenance door: what is signed by one of these keys may change hosts through their region, without SSH."""

    signers: Required[
        Annotated[
            tuple[Signer, ...],
            BeforeValidator(as_list, json_schema_input_type=Signer | tuple[Signer, ...]),
            NOT_EMPTY,
            EACH_ONCE,
        ]
    ]
    """Public keys (Ed25519, also of security keys) whose words the hosts heed; whoever holds one of the private keys is root on all of them."""
    via: Annotated[str, Leaf(_door_driver, {"enum": ["exec"]})]
    """By which task driver the door's task runs; exec when left out."""


@with_config(STRICT)
class InventoryFields(TypedDict, total=False):
    """An inventory of ionetctl: a site's hosts and the Nomad regions that they join."""

    version: Required[Annotated[Literal[1], Leaf(field_checks.version_one, {"const": 1})]]
    """The version of this format."""
    datacenter: Datacenter
    """The Nomad datacenter of all hosts, unless one says otherwise."""
    naming: Annotated[Naming, one_of("as-written", "unique")]
    """unique appends a short stable suffix, made from the machine-id, to each name."""
    regions: Required[Annotated[dict[Region, RegionFields], NOT_EMPTY]]
    nomad: Required[NomadFields]
    maintenance: MaintenanceFields
    distribution: Annotated[Distribution, one_of("push", "mirror", "fanout")]
    """How hosts get programs: over SSH, from a mirror, or from each other within a rack; push when left out."""
    mirror: Annotated[str, Leaf(endpoints.hosts_mirror)]
    """For distribution: mirror, the http or https URL below which hosts find packed programs by their SHA-256."""
    pins: dict[
        Annotated[str, Leaf(field_checks.host_name)],
        Annotated[
            tuple[HostKey, ...],
            BeforeValidator(as_list, json_schema_input_type=HostKey | tuple[HostKey, ...]),
            NOT_EMPTY,
        ],
    ]
    """ssh.host_key of hosts by their names, as trust scan writes them; not for hosts that have one elsewhere."""
    defaults: HostFields
    groups: dict[Annotated[str, Leaf(field_checks.group_name)], GroupFields]
    """Hosts by group; what a group says holds for its hosts."""
    hosts: tuple[Entry, ...]
    """Hosts without a group."""


WHOLE: Final = TypeAdapter(InventoryFields)


@cache
def entry() -> TypeAdapter[HostEntry]:
    """The validator of a single host's entry, for inventories that are invalid as a whole."""
    return TypeAdapter(Entry)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an inventory, for editors: it accepts every valid inventory, and some invalid ones."""
    # Pydantic reads docstrings from the source files, which takes longer than all else of a validator: only here.
    STRICT["use_attribute_docstrings"] = True
    try:
        schema = TypeAdapter(InventoryFields).json_schema()
    finally:
        del STRICT["use_attribute_docstrings"]
    definitions = schema["$defs"]
    for heir in ("HostEntry", "GroupFields"):
        definitions[heir]["properties"].update(definitions["HostFields"]["properties"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "ionetctl inventory",
    }
