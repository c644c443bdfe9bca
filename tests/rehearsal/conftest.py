"""Rehearsals for the tests of this folder: each has its own ports, state and cache."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.rehearsal.site import Admin, Rehearsal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


class RaiseFleet(Protocol):
    """Sets a rehearsal up for as long as the block lasts; ``faults`` as ``lab up --fault`` takes them."""

    def __call__(self, hosts: int, *faults: str) -> AbstractContextManager[Rehearsal]: ...


class RaiseModelledFleet(Protocol):
    """As ``RaiseFleet``, of modelled hosts. These have no file trees."""

    def __call__(self, hosts: int, *faults: str) -> AbstractContextManager[Rehearsal]: ...


class NewAdmin(Protocol):
    """An admin with a new home directory; ``variables`` are added to the environment."""

    def __call__(self, **variables: str) -> Admin: ...


@pytest.fixture(scope="session")
def new_admin(tmp_path_factory: pytest.TempPathFactory) -> NewAdmin:
    def make(**variables: str) -> Admin:
        return Admin(tmp_path_factory.mktemp("admin"), variables)

    return make


@pytest.fixture(scope="session")
def raise_fleet(tmp_path_factory: pytest.TempPathFactory, new_admin: NewAdmin) -> RaiseFleet:
    @contextlib.contextmanager
    def up(hosts: int, *faults: str) -> Iterator[Rehearsal]:
        with rehearsing(new_admin(), tmp_path_factory.mktemp("lab"), hosts, faults) as rehearsal:
            yield rehearsal

    return up


@pytest.fixture(scope="session")
def raise_modelled_fleet(tmp_path_factory: pytest.TempPathFactory, new_admin: NewAdmin) -> RaiseModelledFleet:
    @contextlib.contextmanager
    def up(hosts: int, *faults: str) -> Iterator[Rehearsal]:
        with rehearsing(
            new_admin(), tmp_path_factory.mktemp("lab"), hosts, faults, "--modelled"
        ) as rehearsal:
            yield rehearsal

    return up


@contextlib.contextmanager
def rehearsing(
    admin: Admin, directory: Path, hosts: int, faults: tuple[str, ...], *options: str
) -> Iterator[Rehearsal]:
    asked = [*(f"--fault={fault}" for fault in faults), *options]
    up = admin.run("lab", "up", "--detach", f"--dir={directory}", f"--hosts={hosts}", *asked, "-o", "json")
    assert up.exit_code == 0, up.stderr
    try:
        yield Rehearsal(directory, up.document["faults"])
    finally:
        down = admin.run("lab", "down", f"--dir={directory}")
    assert down.exit_code == 0, down.stderr
