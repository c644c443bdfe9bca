"""Paths on hosts, where an admin who knows Nomad expects them; users rely on them.

The scripts in ``remote/`` have the same paths; a test compares both. There every path is below ``$IONET_ROOT``, which is
empty on a real host and a directory in a rehearsal.
"""

from __future__ import annotations

from typing import Final

CONFIG_DIR: Final = "/etc/nomad.d"
CLIENT_CONFIG: Final = f"{CONFIG_DIR}/nomad.hcl"
DOCKER_CONFIG: Final = f"{CONFIG_DIR}/docker.hcl"
DRIVERS_CONFIG: Final = f"{CONFIG_DIR}/drivers.hcl"
NVIDIA_CONFIG: Final = f"{CONFIG_DIR}/nvidia.hcl"
HOWTO: Final = f"{CONFIG_DIR}/HOWTO.md"
TLS_DIR: Final = f"{CONFIG_DIR}/tls"
CA_CERT: Final = f"{TLS_DIR}/ca.pem"
NODE_CERT: Final = f"{TLS_DIR}/client.pem"
NODE_KEY: Final = f"{TLS_DIR}/client-key.pem"
DATA_DIR: Final = "/opt/nomad/data"
STATE_DIR: Final = f"{DATA_DIR}/client"
ALLOC_DIR: Final = f"{DATA_DIR}/alloc"
CLIENT_ID: Final = f"{STATE_DIR}/client-id"
INTRODUCTION_TOKEN: Final = f"{STATE_DIR}/intro_token.jwt"
RELEASES_DIR: Final = "/opt/nomad/releases"
PLUGIN_DIR: Final = "/opt/nomad/plugins"
NOMAD_LINK: Final = "/usr/local/bin/nomad"
DEVICE_PLUGIN: Final = "nomad-device-nvidia"
UNIT_NAME: Final = "nomad.service"
UNIT: Final = f"/etc/systemd/system/{UNIT_NAME}"
OUR_DIR: Final = "/var/lib/ionet"
MANIFEST: Final = f"{OUR_DIR}/manifest"
CHROOT_DIR: Final = f"{OUR_DIR}/chroot"
"""What exec tasks see as their root: copies of a few tools."""
CHROOT_SCRIPT: Final = f"{OUR_DIR}/exec_chroot.sh"
START_SCRIPT: Final = f"{OUR_DIR}/start_agent.sh"
"""What the unit starts the agent with: in a mount namespace of its own."""
ALLOWED_SIGNERS: Final = "/etc/ionet/allowed_signers"
"""Whose words the maintenance door heeds, as ssh-keygen reads it."""
MAINTENANCE_SCRIPT: Final = f"{OUR_DIR}/maintenance.sh"
MAINTENANCE_PATH: Final = "/etc/systemd/system/ionet-maintenance.path"
MAINTENANCE_SERVICE: Final = "/etc/systemd/system/ionet-maintenance.service"
DROP_DIR: Final = f"{OUR_DIR}/drop"
"""Where the door's task in the region puts words."""
MAINTENANCE_FILES: Final = (ALLOWED_SIGNERS, MAINTENANCE_SCRIPT, MAINTENANCE_PATH, MAINTENANCE_SERVICE)
"""What a host with a door has, and without one must not keep."""
ANSWERS_DIR: Final = f"{OUR_DIR}/answers"
"""Where it reads what became of them."""
ARTIFACTS_DIR: Final = f"{OUR_DIR}/artifacts"
"""What has arrived of programs that are not installed yet, each under the digest of its compressed file."""
STAMP_KEY: Final = "unique.ionet_bundle"
"""Nomad leaves meta with the prefix ``unique.`` out of a node's computed class; otherwise each node would have its own class."""
ADMISSION_KEY: Final = "ionet_admission"
"""In a node's meta: whether ionetctl keeps jobs from the node. The static value is ``HELD``, for new nodes."""
ADMISSION_REASON_KEY: Final = "ionet_admission_reason"
EXCLUDED_BY_KEY: Final = "unique.ionet_excluded_by"
"""In a node's dynamic meta: the admin who keeps jobs from it (``nodes exclude``), whatever ionetctl itself holds it for."""
EXCLUDED_AT_KEY: Final = "unique.ionet_excluded_at"
EXCLUDED_REASON_KEY: Final = "unique.ionet_excluded_reason"
HELD: Final = "held"
RELEASED: Final = "released"


def nomad_program(version: str) -> str:
    """The path of a Nomad release's executable."""
    return f"{RELEASES_DIR}/{version}/nomad"


def device_plugin_program(version: str) -> str:
    """The path of a device plugin release's executable; the file name must be the plugin block's label."""
    return f"{RELEASES_DIR}/{DEVICE_PLUGIN}-{version}/{DEVICE_PLUGIN}"
