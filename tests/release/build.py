"""Makes a release of the last commit: wheel, sdist and SBOM. The same commit gives the same bytes, on any machine, at any time."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.release.sbom import sbom

ROOT = Path(__file__).parents[2]


def build(target: Path) -> list[Path]:
    """The files of the release, written to ``target``. What is not committed is not in them."""
    made_at = int(_git("log", "-1", "--format=%ct"))
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(_git("archive", "HEAD"))) as archive:
            archive.extractall(folder, filter="data")
        argv = [sys.executable, "-m", "hatchling", "build", "--directory", str(target.resolve())]
        environ = {**os.environ, "SOURCE_DATE_EPOCH": str(made_at)}
        subprocess.run(argv, cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)
        constraints = (Path(folder) / "constraints.txt").read_text()
    (wheel,) = target.glob("*.whl")
    (sdist,) = target.glob("*.tar.gz")
    bill = target / f"{sdist.name.removesuffix('.tar.gz')}.cdx.json"
    bill.write_text(sbom(wheel, constraints, datetime.fromtimestamp(made_at, UTC)))
    return [wheel, sdist, bill]


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


if __name__ == "__main__":
    for file in build(Path(sys.argv[1])):
        print(file)  # noqa: T201  what make shows
