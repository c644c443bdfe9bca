"""A site as its inventory describes it: regions, releases, hosts, and where secrets are stored; never a secret itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ionetctl.core.model.host import Host
from ionetctl.core.model.names import Digest, RegionName
from ionetctl.core.model.secret import SecretRef, variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


Introduction = Literal["auto", "required", "off"]


Naming = Literal["as-written", "unique"]


Distribution = Literal["push", "mirror", "fanout"]


@dataclass(frozen=True, slots=True)
class ReadyPair:
    """A certificate file and where its private key is stored."""

    cert: str
    key: SecretRef


@dataclass(frozen=True, slots=True)
class Issuer:
    """The region's CA; ionetctl issues node certificates with it, valid for ``validity_days`` at most.

    ``key_on_host``: each host makes its node's private key itself, and only a request for a certificate leaves it.
    """

    cert: str
    key: SecretRef
    validity_days: int = 1825
    key_on_host: bool = False


@dataclass(frozen=True, slots=True)
class VaultIssuer:
    """A role of Vault's PKI engine, which signs node certificates under the region's CA; the rest as in ``Issuer``."""

    mount: str
    role: str
    validity_days: int = 1825
    key_on_host: bool = False


@dataclass(frozen=True, slots=True)
class RegionTls:
    """TLS material of a region: paths are absolute once loaded.

    ``node`` is an ``Issuer`` or a ``VaultIssuer`` (a certificate per node), or a ``ReadyPair`` (the same for every node).
    ``server_name`` is the name that the API's certificate must have. ``ca_pem`` is the CA's certificate itself where it is
    known already, as in the catalog; otherwise the file ``ca`` is read.
    """

    ca: str
    server_name: str
    client: ReadyPair | None
    node: Issuer | VaultIssuer | ReadyPair
    ca_pem: str | None = None

    @property
    def key_on_host(self) -> bool:
        """Whether each host makes its node's private key itself."""
        return not isinstance(self.node, ReadyPair) and self.node.key_on_host


@dataclass(frozen=True, slots=True)
class RegionSettings:
    """One Nomad region: its API addresses (https URLs), its servers' RPC addresses and our token there."""

    name: RegionName
    api: tuple[str, ...]
    servers: tuple[str, ...]
    token: SecretRef
    tls: RegionTls
    introduction: Introduction = "auto"
    capacity: int = 10_000

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """Every secret that asking the region needs."""
        return (self.token, *((self.tls.client.key,) if self.tls.client else ()))


Licence = Literal["mpl-only"]
"""``mpl-only``: no release under the Business Source License."""


TaskDriver = Literal["docker", "exec", "java", "qemu", "raw_exec"]
"""A task driver that Nomad brings with it."""


@dataclass(frozen=True, slots=True)
class NomadSettings:
    """The releases that the fleet gets, their source, and what jobs may use of them.

    ``mirror`` is a directory (absolute) or base URL with the layout of releases.hashicorp.com; ``None`` is that site.
    ``own_builds`` says that what lies there is not the vendor's. Checksums are signed by the key ``signing_fingerprint``
    (lower-case hexadecimal digits; ``None`` is the vendor's), which the file ``signing_key`` holds.
    ``allow_downgrade``: hosts with a newer Nomad get this one all the same. ``licence``: which releases the site may use.
    ``drivers``: the task drivers that jobs may use on the hosts, sorted and each once. ``signers``: the public keys whose words the hosts'
    maintenance door heeds; where there is none, hosts have no door.
    """

    version: str
    device_plugin_version: str
    mirror: str | None = None
    own_builds: bool = False
    signing_key: str | None = None
    signing_fingerprint: str | None = None
    allow_downgrade: bool = False
    licence: Licence | None = None
    drivers: tuple[TaskDriver, ...] = ("docker",)
    signers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """A whole site. ``source`` is the user's argument (a path or ``-``), relative paths start from ``directory``.

    ``digest`` is the SHA-256 of the text it was read from. ``distribution`` says how hosts come by programs, ``mirror`` the URL
    below which they lie for hosts by their digests.
    """

    source: str
    directory: str
    digest: Digest
    naming: Naming
    regions: Mapping[RegionName, RegionSettings]
    nomad: NomadSettings
    hosts: tuple[Host, ...]
    distribution: Distribution = "push"
    mirror: str | None = None

    def secrets_of(self, regions: Iterable[RegionName], hosts: Iterable[Host]) -> Iterator[SecretRef]:
        """Every secret that enrolling the hosts into the regions needs."""
        for name in regions:
            region = self.regions[name]
            yield from region.secrets
            if not isinstance(region.tls.node, VaultIssuer):
                yield region.tls.node.key
        for host in hosts:
            yield from host.ssh.secrets

    @property
    def secret_variables(self) -> frozenset[str]:
        """The environment variables that hold secrets."""
        return variables(self.secrets_of(self.regions, self.hosts))
