"""The software bill of materials of a release, in CycloneDX: what is installed with it at run time, at which version, under which licence.

What the release requires is read from its wheel, the versions from ``constraints.txt``, and what those require themselves from
the packages that are installed here, which must be of these versions. Nothing in it depends on the machine: neither paths nor
package indexes nor the time of day.
"""

from __future__ import annotations

import hashlib
import uuid
from importlib.metadata import Distribution, distribution, distributions
from typing import TYPE_CHECKING, Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

NAME: Final = "ionetctl"


def sbom(wheel: Path, constraints: str, made_at: datetime) -> str:
    """The document, in JSON, of the release whose wheel this is.

    Raises ``PackageNotFoundError`` where a package is missing, ``ValueError`` for one of another version than is pinned.
    """
    (released,) = distributions(path=[str(wheel)])
    pins = pinned(constraints)

    def package(name: str) -> Distribution:
        return released if name == NAME else _installed(name, pins)

    needs = _closure(NAME, package)
    components = {name: _component(name, package(name)) for name in needs}
    product = components.pop(NAME)
    product.type = ComponentType.APPLICATION
    content = hashlib.sha256(wheel.read_bytes()).hexdigest()
    product.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=content))
    bom = Bom(components=components.values(), serial_number=uuid.uuid5(uuid.NAMESPACE_OID, content))
    bom.metadata.timestamp = made_at
    bom.metadata.component = product
    for name, required in needs.items():
        owner = components.get(name, product)
        bom.register_dependency(owner, [components[each] for each in required])
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def pinned(constraints: str) -> dict[str, str]:
    """Name and version of each line of a ``constraints.txt``."""
    lines = (line.partition("==") for line in constraints.splitlines())
    return {canonicalize_name(name): version for name, _, version in lines}


def _installed(name: str, pins: Mapping[str, str]) -> Distribution:
    package = distribution(name)
    if package.version != pins.get(name):
        pin = pins.get(name, "no version of it")
        raise ValueError(
            f"{name} {package.version} is installed, and constraints.txt pins {pin}: make it anew"
        )
    return package


def _closure(name: str, package: Callable[[str], Distribution]) -> dict[str, list[str]]:
    """Every package that is installed with ``name``, with what it requires itself."""
    found: dict[str, list[str]] = {}
    open_names: list[tuple[str, frozenset[str]]] = [(name, frozenset())]
    while open_names:
        current, extras = open_names.pop()
        required = dict(_requirements(package(current), extras))
        known = found.setdefault(current, [])
        open_names += [(each, more) for each, more in required.items() if each not in found or more]
        found[current] = sorted({*known, *required})
    return dict(sorted(found.items()))


def _requirements(package: Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for text in package.requires or ():
        needed = Requirement(text)
        marker = needed.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield canonicalize_name(needed.name), frozenset(needed.extras)


def _component(name: str, package: Distribution) -> Component:
    said = str(package.metadata.json.get("license_expression", ""))
    return Component(
        name=name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{name}@{package.version}",
        purl=PackageURL("pypi", name=name, version=package.version),
        licenses=[LicenseFactory().make_from_string(said)] if said else (),
    )
