"""The keys of an agent's configuration and their types: the mistakes that ``nomad config validate`` finds.

Taken from the documentation of Nomad 2.0, for what a client uses; blocks of servers are accepted unchecked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ionetctl.lab.agent.hcl import Value

Shape: TypeAlias = "type | tuple[type, ...] | dict[str, Shape] | None"
"""A type, several types, ``None`` for anything, or the keys of a block, where ``"*"`` stands for any label."""

_TEXT: Final = str
_COUNT: Final = (int, float)
_MAP: Final[dict[str, Shape]] = {"*": (str, int, float, bool)}
_ADDRESSES: Final[dict[str, Shape]] = {"http": _TEXT, "rpc": _TEXT, "serf": _TEXT}
_RETRY: Final[dict[str, Shape]] = {"attempts": _COUNT, "backoff": _TEXT, "max_backoff": _TEXT, "*": None}
_TEMPLATE: Final[dict[str, Shape]] = {
    "function_denylist": list,
    "disable_file_sandbox": bool,
    "max_stale": _TEXT,
    "block_query_wait": _TEXT,
    "wait": {"min": _TEXT, "max": _TEXT, "*": None},
    "wait_bounds": {"min": _TEXT, "max": _TEXT, "*": None},
    "consul_retry": _RETRY,
    "vault_retry": _RETRY,
    "nomad_retry": _RETRY,
    # Nomad passes over a key here that it does not know.
    "*": None,
}
_CLIENT: Final[dict[str, Shape]] = {
    "enabled": bool,
    "servers": list,
    "node_pool": _TEXT,
    "node_class": _TEXT,
    "default_ineligible": bool,
    "meta": _MAP,
    "options": _MAP,
    "chroot_env": _MAP,
    "state_dir": _TEXT,
    "alloc_dir": _TEXT,
    "alloc_mounts_dir": _TEXT,
    "network_interface": _TEXT,
    "network_speed": _COUNT,
    "cpu_total_compute": _COUNT,
    "memory_total_mb": _COUNT,
    "disk_total_mb": _COUNT,
    "disk_free_mb": _COUNT,
    "reserved": {
        "cpu": _COUNT,
        "cores": (str, int),
        "memory": _COUNT,
        "disk": _COUNT,
        "reserved_ports": _TEXT,
    },
    "server_join": {
        "retry_join": list,
        "start_join": list,
        "retry_max": _COUNT,
        "retry_interval": _TEXT,
    },
    "host_volume": {"*": None},
    "host_network": {"*": None},
    "max_kill_timeout": _TEXT,
    "min_dynamic_port": _COUNT,
    "max_dynamic_port": _COUNT,
    "gc_interval": _TEXT,
    "gc_disk_usage_threshold": _COUNT,
    "gc_inode_usage_threshold": _COUNT,
    "gc_max_allocs": _COUNT,
    "gc_parallel_destroys": _COUNT,
    "no_host_uuid": bool,
    "cni_path": _TEXT,
    "cni_config_dir": _TEXT,
    "bridge_network_name": _TEXT,
    "bridge_network_subnet": _TEXT,
    "bridge_network_hairpin_mode": bool,
    "cgroup_parent": _TEXT,
    "template": _TEMPLATE,
    "artifact": {"*": None},
    "drain_on_shutdown": {"*": None},
    "node_max_allocs": _COUNT,
    "preferred_address_family": _TEXT,
}
AGENT: Final[dict[str, Shape]] = {
    "region": _TEXT,
    "datacenter": _TEXT,
    "name": _TEXT,
    "data_dir": _TEXT,
    "plugin_dir": _TEXT,
    "log_level": _TEXT,
    "log_json": bool,
    "log_file": _TEXT,
    "log_include_location": bool,
    "log_rotate_bytes": _COUNT,
    "log_rotate_duration": _TEXT,
    "log_rotate_max_files": _COUNT,
    "bind_addr": _TEXT,
    "enable_debug": bool,
    "enable_syslog": bool,
    "syslog_facility": _TEXT,
    "leave_on_interrupt": bool,
    "leave_on_terminate": bool,
    "disable_update_check": bool,
    "disable_anonymous_signature": bool,
    "http_api_response_headers": _MAP,
    "ports": {"http": _COUNT, "rpc": _COUNT, "serf": _COUNT},
    "addresses": _ADDRESSES,
    "advertise": _ADDRESSES,
    "client": _CLIENT,
    "acl": {"enabled": bool, "token_ttl": _TEXT, "policy_ttl": _TEXT, "role_ttl": _TEXT},
    "tls": {
        "rpc": bool,
        "http": bool,
        "ca_file": _TEXT,
        "cert_file": _TEXT,
        "key_file": _TEXT,
        "verify_server_hostname": bool,
        "verify_https_client": bool,
        "rpc_upgrade_mode": bool,
        "tls_min_version": _TEXT,
        "tls_cipher_suites": _TEXT,
    },
    "plugin": {"*": {"args": list, "config": None}},
    "limits": {
        "https_handshake_timeout": _TEXT,
        "http_max_conns_per_client": _COUNT,
        "rpc_handshake_timeout": _TEXT,
        "rpc_max_conns_per_client": _COUNT,
    },
    "telemetry": None,
    "consul": None,
    "vault": None,
    "server": None,
    "audit": None,
    "autopilot": None,
    "reporting": None,
    "ui": None,
    "rpc": None,
    "eventlog": None,
    "keyring": None,
}
_USERS: Final[dict[str, Shape]] = {"denied_host_uids": _TEXT, "denied_host_gids": _TEXT}
_CONFINED: Final[dict[str, Shape]] = {
    "no_pivot_root": bool,
    "default_pid_mode": _TEXT,
    "default_ipc_mode": _TEXT,
    "allow_caps": list,
}
DRIVER_PLUGINS: Final[dict[str, dict[str, Shape]]] = {
    "docker": {
        "endpoint": _TEXT,
        "auth": {"config": _TEXT, "helper": _TEXT},
        "tls": {"cert": _TEXT, "key": _TEXT, "ca": _TEXT},
        "extra_labels": list,
        "logging": {"type": _TEXT, "config": _MAP},
        "gc": {"image": bool, "image_delay": _TEXT, "container": bool, "dangling_containers": None},
        "volumes": {"enabled": bool, "selinuxlabel": _TEXT},
        "allow_privileged": bool,
        "allow_caps": list,
        "nvidia_runtime": _TEXT,
        "allow_runtimes": list,
        "infra_image": _TEXT,
        "infra_image_pull_timeout": _TEXT,
        "image_pull_timeout": _TEXT,
        "pull_activity_timeout": _TEXT,
        "pids_limit": _COUNT,
        "disable_log_collection": bool,
        "windows_allow_insecure_container_admin": bool,
        "container_exists_attempts": _COUNT,
    },
    "exec": {**_CONFINED, **_USERS},
    "java": _CONFINED,
    "qemu": {"image_paths": list, "args_allowlist": list, "emulators_allowlist": list},
    "raw_exec": {"enabled": bool, "denied_envvars": list, **_USERS},
}
"""The configuration of Nomad's own drivers. An agent with another key does not start, though its configuration is valid."""


ADDED_IN: Final = {"client.default_ineligible": (2, 0, 3)}
"""Keys that were added after 2.0.0, and the first version that has each."""


def keys_of_later_versions(tree: dict[str, Value], version: tuple[int, ...]) -> list[str]:
    """An error for each key that only later versions than ``version`` have."""
    found = []
    for key, since in ADDED_IN.items():
        block, _, name = key.partition(".")
        given = tree.get(block)
        if version < since and isinstance(given, dict) and name in given:
            found.append(f"unexpected keys {key}")
    return found


def plugin_errors(plugins: Mapping[str, Mapping[str, Value]]) -> list[str]:
    """What keeps an agent with these plugin blocks from starting: keys that a driver does not know, which is all that is looked for."""
    found = []
    for label, shape in DRIVER_PLUGINS.items():
        config = plugins.get(label, {}).get("config")
        unknown = [key for key in config if key not in shape] if isinstance(config, dict) else []
        reason = 'plugin "{}" (driver): failed to parse config:  Invalid label: No argument or block type is named "{}".'
        found += [reason.format(label, key) for key in unknown]
    return found


def config_errors(tree: dict[str, Value], shape: dict[str, Shape] = AGENT, path: str = "") -> list[str]:
    """An error for each unknown key and each value of a wrong type."""
    found: list[str] = []
    for key, value in tree.items():
        expected = shape.get(key, shape.get("*", _UNKNOWN))
        where = f"{path}{key}"
        if expected is _UNKNOWN:
            found.append(f"unexpected keys {where}")
        elif isinstance(expected, dict):
            found += _block_errors(value, expected, where)
        elif expected is not None and not _has_type(value, expected):
            found.append(f"{where}: cannot parse {value!r} as {_described(expected)}")
    return found


_UNKNOWN: Final = object  # a type that the table does not use


def _block_errors(value: Value, expected: dict[str, Shape], where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: expected a block, not {value!r}"]
    return config_errors(value, expected, f"{where}.")


def _has_type(value: Value, expected: type | tuple[type, ...]) -> bool:
    """Weak decoding, as Nomad does: a number is accepted as text, and a text that reads so as a boolean or number."""
    kinds = expected if isinstance(expected, tuple) else (expected,)
    if isinstance(value, str):
        return (
            str in kinds
            or (bool in kinds and value in ("true", "false"))
            or (int in kinds and value.isdigit())
        )
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, kinds) or (str in kinds and isinstance(value, int | float))


def _described(expected: type | tuple[type, ...]) -> str:
    kinds = expected if isinstance(expected, tuple) else (expected,)
    return " or ".join(kind.__name__ for kind in kinds)
