"""Which names the CAs of a chain permit in certificates below them (RFC 5280, 4.2.1.10), as Nomad's servers see it.

Nomad is written in Go, whose library checks DNS names, addresses, mail addresses and URIs of certificates, and refuses a chain with critical
constraints of any other kind. It does not hold common names against them: https://pkg.go.dev/crypto/x509#Certificate.Verify
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509

from ionetctl.credentials.certificates import extension

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ionetctl.credentials.certificates import Chain

_CHECKED: Final = (
    x509.DNSName,
    x509.IPAddress,
    x509.RFC822Name,
    x509.UniformResourceIdentifier,
)


def forbidden_names(cas: Chain, names: Iterable[x509.DNSName | x509.IPAddress]) -> tuple[str, ...]:
    """Those of the names that some CA does not permit, as text. Raises ``ValueError`` for a malformed extension."""
    return tuple(str(name.value) for name in names if not all(_permits(_subtrees(ca), name) for ca in cas))


def are_readable(cas: Iterable[x509.Certificate]) -> bool:
    """Whether the extensions of all CAs can be read: constraints may have kinds of names, and masks of addresses, that cannot."""
    try:
        for ca in cas:
            _subtrees(ca)
    except ValueError:
        return False
    return True


def has_unusable_constraints(cas: Chain) -> bool:
    """Whether some CA has constraints for which Nomad's servers refuse the whole chain. Raises ``ValueError`` for a malformed extension."""
    return any(_is_unusable(ca) for ca in cas)


def _is_unusable(ca: x509.Certificate) -> bool:
    constraints = _subtrees(ca)
    subtrees = [] if constraints is None else _all(constraints)
    is_critical = bool(subtrees) and ca.extensions.get_extension_for_class(x509.NameConstraints).critical
    return is_critical and not all(isinstance(subtree, _CHECKED) for subtree in subtrees)


def _subtrees(ca: x509.Certificate) -> x509.NameConstraints | None:
    return extension(ca, x509.NameConstraints)


def _all(constraints: x509.NameConstraints) -> list[x509.GeneralName]:
    return [*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())]


def _permits(constraints: x509.NameConstraints | None, name: x509.DNSName | x509.IPAddress) -> bool:
    """Kinds of names of which none is permitted are not limited, but for those that are excluded."""
    if constraints is None:
        return True
    permitted = [each for each in constraints.permitted_subtrees or () if isinstance(each, type(name))]
    excluded = [each for each in constraints.excluded_subtrees or () if isinstance(each, type(name))]
    is_permitted = not permitted or any(_is_within(name, each) for each in permitted)
    return is_permitted and not any(_is_within(name, each) for each in excluded)


def _is_within(name: x509.DNSName | x509.IPAddress, subtree: x509.GeneralName) -> bool:
    if isinstance(name, x509.IPAddress):
        return name.value in subtree.value
    domain, host = str(subtree.value).lower(), name.value.lower()
    if domain.startswith("."):
        return host.endswith(domain)
    return not domain or host == domain or host.endswith(f".{domain}")
