"""A host's file tree in a folder, with stand-ins for its service manager, in which the real scripts really run."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
import os
import shutil
import stat
import subprocess
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

from ionetctl.core import host_paths
from ionetctl.core.model.names import Digest, RolloutId
from ionetctl.core.model.plan import BundleFile, Form, Kind, Program
from ionetctl.facts.report_lines import (
    APPLY_REPORTS,
    AwaitCertificate,
    AwaitToken,
    AwaitVerdict,
    Failed,
    Have,
    Ready,
    Report,
    Step,
    parse_report_line,
)
from ionetctl.facts.survey_output import parse_survey
from ionetctl.plan.payload import Payload
from ionetctl.remote import apply_script, receive_script
from tests.support.survey_alone import survey_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ionetctl.core.model.facts import Facts

STANDINS = Path(__file__).parent / "standins"
NODE_ID = "7b0dcd2c-6b2f-4c3c-9f0a-3d1c7f1f2a11"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.introduction.c2lnbmF0dXJl"
NOMAD = host_paths.nomad_program("2.0.5")
ROLLOUT = RolloutId("20260301T120000Z-7f3a")


FENCE = "/var/lib/ionet/fence"


@dataclass(frozen=True)
class Dialogue:
    """A whole apply as the controller sees it."""

    reports: tuple[Report, ...]
    exit_status: int
    stderr: str

    @property
    def steps(self) -> tuple[str, ...]:
        return tuple(report.name for report in self.reports if isinstance(report, Step))

    @property
    def failure(self) -> Failed | None:
        return next((report for report in self.reports if isinstance(report, Failed)), None)


@dataclass
class Host:
    """A rehearsal host; ``shell`` is ``dash``, ``bash`` or ``busybox``."""

    root: Path
    shell: str
    shims: Path
    environment: dict[str, str] = field(default_factory=dict)

    def path(self, place: str) -> Path:
        return self.root / place.lstrip("/")

    def write(self, place: str, content: str | bytes, mode: int = 0o644) -> None:
        path = self.path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    def read(self, place: str) -> str:
        return self.path(place).read_text()

    def tree(self, *, besides: Iterable[str] = ()) -> dict[str, tuple[object, ...]]:
        """Every path below the root with what it is, but for the stand-ins' own, and the count of those who took the lock."""
        left_out = {"standin", "proc", FENCE.removeprefix("/"), *besides}
        found = {}
        for path in sorted(self.root.rglob("*")):
            place = path.relative_to(self.root)
            if place.parts[0] not in left_out and str(place) not in left_out:
                found[str(place)] = _seen(path)
        return found

    def environ(self) -> dict[str, str]:
        return {
            "PATH": f"{self.shims}:{_tools(self.shell, self.shims.parent)}",
            "IONET_ROOT": str(self.root),
            "IONET_START_DEADLINE_S": "60",
            **self.environment,
        }

    def argv(self, *arguments: str) -> list[str]:
        return [shutil.which("sh", path=self.environ()["PATH"]) or "sh", *arguments]

    def survey_output(self, *paths: str, nonce: str = "n0nce", servers: str = "-") -> bytes:
        run = subprocess.run(
            self.argv("-s", "--", nonce, servers, *paths),
            input=survey_script(),
            capture_output=True,
            env=self.environ(),
            check=True,
            timeout=60,
        )
        assert run.stderr == b""
        return run.stdout

    def survey(self, *paths: str, servers: str = "-", controller_time: float = 0.0) -> Facts:
        output = self.survey_output(*paths, servers=servers)
        return parse_survey(output, "n0nce", controller_time=controller_time)

    def fence(self) -> int:
        """The number that a survey would find now."""
        path = self.path(FENCE)
        return int(path.read_text().split("\t")[0]) if path.exists() else 0

    def open(self, payload: Payload, fence: int | None = None, lease: str = "-") -> subprocess.Popen[bytes]:
        """The apply's process, by a survey of just now, or one that found ``fence``; of a rollout with that lease."""
        found = str(self.fence() if fence is None else fence)
        identity = ("n0nce", payload.rollout, "ada@ops", "2026-03-01T12:00:00Z", found, lease)
        arguments = (*identity, *payload.packed_digests)
        return subprocess.Popen(
            self.argv("-c", receive_script(), "sh", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environ(),
            start_new_session=True,
        )

    def apply(
        self,
        payload: Payload,
        *,
        token: str | None = f"token {TOKEN}",
        certify: Callable[[bytes], str | None] = lambda _: None,
        verdicts: tuple[str, ...] = ("confirmed",),
        on_report: Callable[[Report, subprocess.Popen[bytes]], None] = lambda _report, _process: None,
        blocks: Iterable[bytes | memoryview] | None = None,
        fence: int | None = None,
        lease: str = "-",
    ) -> Dialogue:
        """The apply, with these answers; an answer of ``None`` (or none left) closes our end. ``blocks`` are sent instead.

        ``certify`` has the answer to a request for a certificate.
        """
        answers = iter(verdicts)
        reports: list[Report] = []
        sender = threading.Thread()
        with self.open(payload, fence, lease) as process:
            for report in _reports(process):
                reports.append(report)
                on_report(report, process)
                if isinstance(report, Ready):
                    content = sent(payload, present(reports)) if blocks is None else blocks
                    sender = threading.Thread(target=_send, args=(process, content))
                    sender.start()
                elif isinstance(report, AwaitToken):
                    _answer(process, token)
                elif isinstance(report, AwaitCertificate):
                    _answer(process, certify(report.request))
                elif isinstance(report, AwaitVerdict):
                    _answer(process, next(answers, None))
            if sender.ident is not None:
                sender.join()
            _answer(process, None)
            stderr = process.stderr.read().decode() if process.stderr else ""
        return Dialogue(tuple(reports), process.returncode, stderr)


def make_host(directory: Path, shell: str) -> Host:
    """A host with the stand-ins, its agent neither installed nor running."""
    shims = directory / "shims"
    shims.mkdir()
    for name in ("systemctl", "journalctl"):
        (shims / name).symlink_to(STANDINS / name)
    host = Host(directory / "host root", shell, shims)
    for name, text in (("active", "inactive"), ("enabled", "disabled"), ("behaviour", "ok"), ("journal", "")):
        host.write(f"/standin/{name}", f"{text}\n" if text else "")
    host.write("/proc/sys/kernel/random/boot_id", "b0071d00-0000-4000-8000-000000000001\n")
    return host


def shim(host: Host, name: str, script: str) -> None:
    """Put a program before all others of that name."""
    path = host.shims / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def kill_after(host: Host, name: str, counter: Path) -> None:
    """Let the command kill who holds the lock when it is number ``IONET_TEST_LAST``, counted in a file."""
    real = host.shims / name
    target = Path(f"/usr/bin/{name}")
    if real.exists():
        target = host.shims.parent / "counted" / name
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(real.resolve())
    lock = host.path("/var/lib/ionet/lock")
    script = f"""
        if pid=$(readlink "{lock}" | cut -f4) && [ -n "$pid" ]; then
            echo . >>"{counter}"
            if [ "$(wc -l <"{counter}")" = "$IONET_TEST_LAST" ]; then kill -9 "$pid"; exit 1; fi
        fi
        exec {target} "$@"
    """
    shim(host, name, script)


def present(reports: Iterable[Report]) -> dict[Digest, int]:
    """What the host has reported to have of programs."""
    return {report.packed_digest: report.size_bytes for report in reports if isinstance(report, Have)}


def sent(payload: Payload, lies_there: Mapping[Digest, int]) -> Iterator[bytes | memoryview]:
    """All that the controller sends before the first answer."""
    yield b"%d\n" % payload.size_bytes(lies_there)
    yield from payload.blocks(lies_there)


def file(path: str, content: str | bytes, mode: int = 0o644, *, is_secret: bool = False) -> BundleFile:
    """A file to install, owned by whoever runs the tests."""
    data = content.encode() if isinstance(content, str) else content
    digest = Digest(hashlib.sha256(data).hexdigest())
    return BundleFile(
        path, Kind.FILE, mode, restarts=True, owner=owner(), content=data, digest=digest, is_secret=is_secret
    )


def owner() -> str:
    """Who owns what this process makes, as ``stat`` says it."""
    said = subprocess.run(("stat", "-L", "-c", "%U:%G", "/proc/self"), capture_output=True, check=True)
    return said.stdout.decode().strip()


def program(
    directory: Path,
    content: bytes | None = None,
    path: str = NOMAD,
    version: str = "2.0.5",
    form: Form = Form.GZIP,
) -> BundleFile:
    """A program to install, packed in ``directory``: Nomad's stand-in unless another is named."""
    data = (STANDINS / "nomad").read_bytes() if content is None else content
    digest = Digest(hashlib.sha256(data).hexdigest())
    release = replace(
        Program("nomad", version, "amd64", digest, len(data), "", 0, digest, form),
        **packed(directory / f"{Path(path).name}.{form}", PACKERS[form](data)),
    )
    return BundleFile(path, Kind.PROGRAM, 0o755, restarts=True, owner=owner(), digest=digest, program=release)


PACKERS: dict[Form, Callable[[bytes], bytes]] = {
    Form.GZIP: lambda data: gzip.compress(data, mtime=0),
    Form.XZ: lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    Form.ZSTD: zstandard.compress,
}


def packed(path: Path, content: bytes) -> dict[str, Any]:
    """The fields of a program whose compressed file is that."""
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return {"packed_path": str(path), "packed_bytes": len(content), "packed_digest": Digest(digest)}


def arrived(payload: Payload) -> set[str]:
    """Where the programs lie that an apply did not come to install."""
    directory = host_paths.ARTIFACTS_DIR.lstrip("/")
    return {directory, *(f"{directory}/{digest}" for digest in payload.packed_digests)}


def link(path: str, target: str) -> BundleFile:
    return BundleFile(path, Kind.LINK, 0o777, restarts=True, target=target)


CONFIG = f"""
client {{
  meta {{
    "unique.ionet_bundle" = "0123456789abcdef-STAMP"
  }}
}}
tls {{
  ca_file   = "{host_paths.CA_CERT}"
  cert_file = "{host_paths.NODE_CERT}"
  key_file  = "{host_paths.NODE_KEY}"
}}
"""


def config(stamp: str = "one") -> BundleFile:
    return file(host_paths.CLIENT_CONFIG, CONFIG.replace("STAMP", stamp), 0o640)


def manifest(*files: BundleFile) -> BundleFile:
    lines = "".join(f"{each.digest}  {each.path}\n" for each in files)
    return file(host_paths.MANIFEST, lines, 0o600)


def tls_files(text: str = "one") -> tuple[BundleFile, ...]:
    return (
        file(host_paths.CA_CERT, f"ca {text}\n"),
        file(host_paths.NODE_CERT, f"certificate {text}\n"),
        file(host_paths.NODE_KEY, f"key {text}\n", 0o600, is_secret=True),
    )


def first_payload(directory: Path, stamp: str = "one", start: str = "start") -> Payload:
    """All that a bare host needs."""
    files = (config(stamp), *tls_files(stamp), file(host_paths.UNIT, f"[Service]\n# {stamp}\n"))
    nomad = program(directory)
    return Payload(
        rollout=ROLLOUT,
        apply_script=apply_script(),
        files=(*files, manifest(*files, nomad)),
        programs=(nomad,),
        links=(link(host_paths.NOMAD_LINK, NOMAD),),
        needs_token=True,
        start="restart" if start == "restart" else "start",
        validate_with=NOMAD,
    )


def _seen(path: Path) -> tuple[object, ...]:
    if path.is_symlink():
        return ("link", str(path.readlink()))
    mode = stat.S_IMODE(path.stat().st_mode)
    return ("directory", mode) if path.is_dir() else ("file", mode, path.read_bytes())


def _tools(shell: str, directory: Path) -> str:
    """A PATH on which ``sh`` is that shell; busybox brings all of its own tools, but for util-linux's ``flock``."""
    tools = directory / f"tools-{shell}"
    if not tools.exists():
        tools.mkdir()
        program_path = shutil.which(shell)
        assert program_path is not None
        names = ["sh"]
        if shell == "busybox":
            listed = subprocess.run((program_path, "--list"), capture_output=True, check=True)
            names = listed.stdout.decode().split()
        for name in names:
            (tools / name).symlink_to(program_path)
        if not (tools / "flock").exists():
            (tools / "flock").symlink_to(shutil.which("flock") or "flock")
    return str(tools) if shell == "busybox" else f"{tools}:/usr/bin:/bin"


def _send(process: subprocess.Popen[bytes], blocks: Iterable[bytes | memoryview]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        for block in blocks:
            process.stdin.write(block)
        process.stdin.flush()


def _answer(process: subprocess.Popen[bytes], text: str | None) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        if text is None:
            process.stdin.close()
        else:
            process.stdin.write(text.encode() + b"\n")
            process.stdin.flush()


def _reports(process: subprocess.Popen[bytes]) -> Iterator[Report]:
    assert process.stdout is not None
    for line in process.stdout:
        if line == b"\n":  # what keeps a login's greeting apart
            continue
        yield parse_report_line(line.rstrip(b"\n"), APPLY_REPORTS)


def owned_by_tests() -> bool:
    """Whether the tests run as root, so that mounts can be made."""
    return os.geteuid() == 0
