"""The software bill of materials of a release, in CycloneDX: what is installed with it at run time, at which version, under which licence.

Read from the installed packages of this Python, which ``constraints.txt`` pins. Nothing in it depends on the machine: neither
paths nor package indexes nor the time of day.
"""

from __future__ import annotations

import hashlib
import uuid
from importlib.metadata import Distribution, distribution
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
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

NAME: Final = "ionetctl"


def sbom(wheel: Path, made_at: datetime) -> str:
    """The document, in JSON, of the release whose wheel this is; raises ``PackageNotFoundError`` where a package is missing."""
    needs = _closure(NAME)
    components = {name: _component(name) for name in needs}
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


def _closure(name: str) -> dict[str, list[str]]:
    """Every package that is installed with ``name``, with what it requires itself."""
    found: dict[str, list[str]] = {}
    open_names: list[tuple[str, frozenset[str]]] = [(name, frozenset())]
    while open_names:
        current, extras = open_names.pop()
        required = dict(_requirements(distribution(current), extras))
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


def _component(name: str) -> Component:
    package = distribution(name)
    said = str(package.metadata.json.get("license_expression", ""))
    return Component(
        name=name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{name}@{package.version}",
        purl=PackageURL("pypi", name=name, version=package.version),
        licenses=[LicenseFactory().make_from_string(said)] if said else (),
    )
