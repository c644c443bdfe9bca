"""Reads the configuration of a Nomad client agent from its host: files merged in order, and validated as Nomad does.

Reads files only; starts nothing. The rules are those of Nomad's agent configuration documentation.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ionetctl.lab.agent import hcl
from ionetctl.lab.agent.config_schema import config_errors, keys_of_later_versions
from ionetctl.lab.host.rooted_path import locate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ionetctl.lab.agent.hcl import Value

RPC_PORT: Final = 4647


class AgentConfigError(Exception):
    """Nomad would refuse this configuration; the text is what it prints."""


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """The settings that a client agent uses. Paths are absolute paths on the host."""

    name: str
    region: str
    datacenter: str
    data_dir: str
    state_dir: str
    plugin_dir: str
    servers: tuple[str, ...]
    node_pool: str
    node_class: str
    meta: Mapping[str, str]
    is_default_ineligible: bool
    reserved: Mapping[str, Value]
    http_address: str
    tls: Mapping[str, Value]
    plugins: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    options: Mapping[str, Value] = field(default_factory=dict)

    @property
    def tls_files(self) -> tuple[str, str, str]:
        """The paths of CA, certificate and key; empty where there is none."""
        return tuple(str(self.tls.get(key, "")) for key in ("ca_file", "cert_file", "key_file"))  # type: ignore[return-value]

    def allows(self, driver: str) -> bool:
        """Whether jobs may use this task driver: without a list, each; the agent does not even look for another."""
        allowed = self.options.get("driver.allowlist")
        return not allowed or driver in str(allowed).split(",")

    @property
    def wants_tls(self) -> bool:
        """Whether RPC to the servers uses TLS (``tls.rpc``)."""
        return _flag(self.tls.get("rpc"))


def read_files(tree: Path, config_paths: tuple[str, ...], version: str) -> dict[str, Value]:
    """The merged document of configuration files and directories; raises ``AgentConfigError``."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    merged: dict[str, Value] = {}
    for path in (path for config_path in config_paths for path in _files(tree, config_path)):
        shown = f"/{path.relative_to(tree)}" if path.is_relative_to(tree) else str(path)
        try:
            document = _document(path)
        except (hcl.HclError, ValueError, OSError) as error:
            raise AgentConfigError(f"Error loading {shown}: {error}") from None
        if found := [*config_errors(document), *keys_of_later_versions(document, numbers)]:
            raise AgentConfigError(f"Error loading {shown}: {found[0]}")
        hcl.merge(merged, document)
    return merged


def _files(tree: Path, config_path: str) -> list[Path]:
    """The file itself, or the ``*.hcl`` and ``*.json`` of a directory, by name: the order in which Nomad reads them."""
    path = locate(tree, config_path)
    if not path.is_dir():
        if not path.is_file():
            raise AgentConfigError(
                f"Error loading configuration from {config_path}: no such file or directory"
            )
        return [path]
    names = sorted(each.name for each in path.iterdir() if each.suffix in (".hcl", ".json"))
    kept = [name for name in names if not name.startswith((".", "#")) and not name.endswith("~")]
    return [locate(tree, str(path / name)) for name in kept]


def _document(path: Path) -> dict[str, Value]:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        return hcl.read(text)
    document = json.loads(text)
    if not isinstance(document, dict):
        raise TypeError("not an object")
    return document


def read_config(tree: Path, config_paths: tuple[str, ...], hostname: str, version: str) -> AgentConfig:
    """The configuration with which a client agent of this version would run; raises ``AgentConfigError``."""
    document = read_files(tree, config_paths, version)
    client = _block(document, "client")
    data_dir = _text(document, "data_dir")
    if not data_dir.startswith("/"):
        raise AgentConfigError('Must specify "data_dir" config option or "data-dir" CLI flag')
    if not _flag(client.get("enabled")) and not _flag(_block(document, "server").get("enabled")):
        raise AgentConfigError("Must specify either server, client or dev mode for the agent.")
    servers = client.get("servers", [])
    return AgentConfig(
        name=_text(document, "name") or hostname,
        region=_text(document, "region") or "global",
        datacenter=_text(document, "datacenter") or "dc1",
        data_dir=data_dir,
        state_dir=_text(client, "state_dir") or f"{data_dir}/client",
        plugin_dir=_text(document, "plugin_dir") or f"{data_dir}/plugins",
        servers=tuple(str(each) for each in servers) if isinstance(servers, list) else (),
        node_pool=_text(client, "node_pool") or "default",
        node_class=_text(client, "node_class"),
        meta={key: _as_text(value) for key, value in _block(client, "meta").items()},
        is_default_ineligible=_flag(client.get("default_ineligible")),
        reserved=_block(client, "reserved"),
        http_address=f"{_text(_block(document, 'advertise'), 'http') or '127.0.0.1'}:4646",
        tls=_block(document, "tls"),
        options=_block(client, "options"),
        plugins={label: _block(_block(document, "plugin"), label) for label in _block(document, "plugin")},
    )


def validate_config(tree: Path, config_path: str, version: str) -> tuple[int, list[str]]:
    """The exit status and the lines of ``nomad config validate``; as in Nomad, missing TLS files are a mere warning."""
    try:
        config = read_config(tree, (config_path,), "validate", version)
    except AgentConfigError as error:
        return 1, [f"==> Config validation failed: {error}"]
    lines = []
    if config.wants_tls:
        missing = [path for path in config.tls_files if not path or not locate(tree, path).is_file()]
        lines = [f"==> WARNING: TLS file {path or '(none)'}: no such file or directory" for path in missing]
    return 0, [*lines, "==> Configuration is valid!"]


def _block(document: Mapping[str, Value], key: str) -> Mapping[str, Value]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _text(document: Mapping[str, Value], key: str) -> str:
    value = document.get(key, "")
    return value if isinstance(value, str) else _as_text(value)


def _as_text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flag(value: Value | None) -> bool:
    return value is True or value == "true"
