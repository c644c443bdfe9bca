"""``ionetctl probe`` from outside, with the NVML stand-in as this machine's driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ionetctl.app.local_probe import probe_here
from ionetctl.core.errors import HostFailedError
from tests.nvml.library import build_nvml
from tests.support.programs import needs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import RunIonetctl

CARD = "GPU-1\tNVIDIA GeForce RTX 4090\t00000000:01:00.0\t24564\n"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a driver's library."""
    needs("cc")
    return build_nvml(tmp_path_factory.mktemp("driver")).parent


def test_cards_of_this_machine_are_told(
    ionetctl: RunIonetctl, write: Callable[[str, str], str], driver: Path
) -> None:
    """As a table for people, with both names."""
    ended = ionetctl("probe", FAKE_NVML_CONF=write("cards", CARD), LD_LIBRARY_PATH=str(driver))
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert "NVIDIA GeForce RTX 4090  nvidia.rtx.4090.24gb" in ended.stdout
    assert "1 GPU by nvml, driver 570.86.15, CUDA 12.8" in ended.stdout


def test_cards_are_rows_of_ndjson(
    ionetctl: RunIonetctl, write: Callable[[str, str], str], driver: Path
) -> None:
    """One line a card."""
    conf = write("cards", CARD + CARD.replace("GPU-1", "GPU-2"))
    ended = ionetctl("probe", "-o", "ndjson", FAKE_NVML_CONF=conf, LD_LIBRARY_PATH=str(driver))
    assert [line.split('"uuid":"')[1][:5] for line in ended.stdout.splitlines()] == ["GPU-1", "GPU-2"]


def test_what_nobody_can_say_ends_with_5(
    ionetctl: RunIonetctl, write: Callable[[str, str], str], driver: Path
) -> None:
    """The document is whole, and its GPUs are null."""
    conf = write("cards", "+nvmlInit\terror 18\n")
    ended = ionetctl("probe", "-o", "json", FAKE_NVML_CONF=conf, LD_LIBRARY_PATH=str(driver))
    assert (ended.exit_code, ended.document["exit_code"], ended.document["gpus"]) == (5, 5, None)
    assert "NVML_ERROR_LIB_RM_VERSION_MISMATCH" in ended.document["source"]


def test_a_probe_that_does_not_end_is_ended(write: Callable[[str, str], str]) -> None:
    """A machine that stands still does not make the command stand still."""
    shell = write("sh", "#!/bin/sh\nexec sleep 60\n")
    _make_executable(shell)
    with pytest.raises(HostFailedError, match="did not end within 0 s") as caught:
        probe_here(shell, timeout_s=0.2)
    assert caught.value.code == "probe_timeout"


def test_a_probe_that_says_nothing_fails_with_its_document(
    ionetctl: RunIonetctl, write: Callable[[str, str], str], tmp_path: Path
) -> None:
    """Where even the shell's tools are gone, the error stands where scripts look for it."""
    write("python3", "#!/bin/sh\nprintf 'gpu\\tnonsense\\n'\n")
    _make_executable(str(tmp_path / "python3"))
    ended = ionetctl("probe", "-o", "json", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert (ended.exit_code, ended.document["error"]["code"]) == (5, "probe_malformed")
    assert ended.document["schema"] == "ionetctl.probe/1"


def _make_executable(path: str) -> None:
    from pathlib import Path

    Path(path).chmod(0o755)
