"""A host on which the real probe really runs: its file tree, the NVML stand-in as its driver, and a shell of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ionetctl.facts.gpu_output import parse_probe
from ionetctl.remote import probe_program, probe_script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ionetctl.core.observed import GpuReading

NONCE: Final = "n0nce"
TOOLS: Final = ("cat", "sleep", "tail", "timeout")
CONF: Final = "fake-nvml.conf"


@dataclass
class ProbedHost:
    """A host; it has a ``python3`` unless ``remove_python`` was called, and what ``libraries`` holds as its driver."""

    root: Path
    shell: str
    libraries: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def programs(self) -> Path:
        return self.root / "usr/bin"

    @property
    def conf(self) -> Path:
        return self.root / CONF

    def write(self, place: str, content: str | bytes, mode: int = 0o644) -> Path:
        path = self.root / place.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never through a link: the host's tools are links to those of this machine.
        path.unlink(missing_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def shim(self, name: str, script: str) -> None:
        """Put a program on the host."""
        self.write(f"usr/bin/{name}", f"#!/bin/sh\n{script}\n", 0o755)

    def use_python(self, path: str = sys.executable) -> None:
        self.shim("python3", f'exec {path} "$@"')

    def remove_python(self) -> None:
        (self.programs / "python3").unlink()

    def cards(self, *lines: str | bytes) -> None:
        """Write what the driver has: the lines of ``fake_nvml.c``."""
        encoded = (line.encode() if isinstance(line, str) else line for line in lines)
        self.conf.write_bytes(b"".join(line + b"\n" for line in encoded))

    def bus(self, *addresses: str, kind: str = "0x030000", width: str = "16") -> None:
        """A PCI bus with NVIDIA devices of that class."""
        (self.root / "sys/bus/pci/devices").mkdir(parents=True, exist_ok=True)
        for address in addresses:
            for name, value in (("vendor", "0x10de"), ("class", kind), ("max_link_width", width)):
                self.write(f"sys/bus/pci/devices/{address}/{name}", f"{value}\n")

    def environ(self) -> dict[str, str]:
        return {
            "PATH": str(self.programs),
            "IONET_ROOT": str(self.root),
            "FAKE_NVML_CONF": str(self.conf),
            "LD_LIBRARY_PATH": str(self.libraries),
            "LANG": "C",
            **self.environment,
        }

    def run(self, program: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """What the transport does: the script as an argument, the program on standard input, both ends of every pipe."""
        return subprocess.run(
            [str(self.programs / "sh"), "-c", probe_script(), "ionet-probe", NONCE],
            input=probe_program() if program is None else program,
            capture_output=True,
            env=self.environ(),
            check=True,
            timeout=60,
        )

    def output(self) -> bytes:
        run = self.run()
        assert run.stderr == b""
        return run.stdout

    def reading(self) -> GpuReading:
        return parse_probe(self.output(), NONCE)

    def tree(self) -> dict[str, bytes]:
        """Every file of the host."""
        return {str(path): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def left_behind(self) -> list[int]:
        """Processes that still have the host's driver open, as its configuration in their environment tells."""
        mark = f"FAKE_NVML_CONF={self.conf}\0".encode()
        return [pid for pid, environ in _environments() if mark in environ]

    def end_left_behind(self) -> None:
        for pid in self.left_behind():
            os.kill(pid, signal.SIGKILL)


def make_probed_host(root: Path, shell: str, libraries: Path) -> ProbedHost:
    """A host whose ``sh`` is that shell, with the few programs that a probe needs and the tests' own Python."""
    host = ProbedHost(root, shell, libraries)
    host.programs.mkdir(parents=True)
    path = shutil.which(shell)
    assert path is not None
    (host.programs / "sh").symlink_to(path)
    for tool in TOOLS:
        (host.programs / tool).symlink_to(path if shell == "busybox" else shutil.which(tool) or "")
    host.use_python()
    return host


def _environments() -> Iterator[tuple[int, bytes]]:
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                yield int(process.name), (process / "environ").read_bytes() + b"\0"
            except OSError:
                continue
