"""Checks of single fields: each takes the text that was written and returns the value, or raises ``FieldError``.

All values are text, since YAML's own types (``NO``, ``010``, ``12:30``) cannot be relied on. A check never quotes what
could be a secret. Which field has which check is in ``structure``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ionetctl.checks import CODES
from ionetctl.core.model.host import AUTO_REGION
from ionetctl.inventory import ranges
from ionetctl.inventory.yaml.problems import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT_MAX: Final = 4096
_IN_BRACKETS = re.compile(r"\[[^\]]*:")
"""An IPv6 address in brackets, which is not a range."""


class FieldError(ValueError):
    """What is wrong with a value as written, and a hint what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Folded:
    """A text with ranges, to be expanded in step with its host's name; ``check`` is applied to each expanded text."""

    text: str
    check: Callable[[str], object]


def text(value: object) -> str:
    """The value, which must be one line of printable text."""
    if value is None:
        raise FieldError("has no value", "leave the key out, or give it a value")
    if not isinstance(value, str):
        raise FieldError(f"must be a text, not a {'mapping' if isinstance(value, dict) else 'list'}")
    if len(value) > TEXT_MAX:
        raise FieldError(f"is longer than {TEXT_MAX} characters")
    if not value.isprintable():
        raise FieldError("has a control or formatting character in it")
    return value


def matching(pattern: str, what: str, hint: str) -> Callable[[object], str]:
    """A check for texts that match ``pattern`` as a whole."""
    matches = re.compile(pattern).fullmatch

    def check(value: object) -> str:
        if isinstance(value, str) and matches(value):
            return value
        raise FieldError(f"{quoted(text(value))} is no {what}", hint)

    return check


def matching_unquoted(pattern: str, what: str) -> Callable[[object], str]:
    """As ``matching``, but never quotes the value: users may write a secret there by mistake."""
    matches = re.compile(pattern).fullmatch

    def check(value: object) -> str:
        if matches(text(value)):
            return str(value)
        raise FieldError(f"is not {what} (what was written is not shown, as it may be a secret)")

    return check


def choice(*known: str) -> Callable[[object], str]:
    """A check for one of the words ``known``."""

    def check(value: object) -> str:
        word = text(value)
        if word not in known:
            raise FieldError(f"{quoted(word)} is none of {', '.join(known)}", did_you_mean(word, known))
        return word

    return check


def number(least: int, most: int) -> Callable[[object], int]:
    """A check for whole numbers from ``least`` to ``most``, written without sign, leading zeros or separators."""

    def check(value: object) -> int:
        digits = text(value)
        if not re.fullmatch(r"0|[1-9][0-9]{0,9}", digits) or not least <= int(digits) <= most:
            raise FieldError(f"{quoted(digits)} is no whole number from {least} to {most}")
        return int(digits)

    return check


def amount(most: float) -> Callable[[object], float]:
    """A check for positive decimal numbers up to ``most``."""

    def check(value: object) -> float:
        digits = text(value)
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", digits) or not 0 < float(digits) <= most:
            raise FieldError(f"{quoted(digits)} is no number above 0, up to {most:g}")
        return float(digits)

    return check


def folded(check: Callable[[object], object], *, strict: bool = False) -> Callable[[object], object]:
    """``check``, or for a text with ranges ``Folded``.

    With ``strict`` every bracket must be a range (or enclose an IPv6 address); otherwise brackets that are not
    ranges are plain text.
    """

    def check_folded(value: object) -> object:
        if not isinstance(value, str) or ("[" not in value and "]" not in value):
            return check(value)
        is_range = not _IN_BRACKETS.search(text(value)) if strict else ranges.has_range(text(value))
        if not is_range:
            return check(value)
        try:
            ranges.parse(value)
        except ranges.RangeError as error:
            raise FieldError(
                str(error), "ranges look like [1-8], [001-128], [0-100/2] or [1,3,5-9]"
            ) from None
        return Folded(value, check)

    return check_folded


_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_WORD_HINT = "use letters, digits, dots, hyphens and underscores, with a letter or digit at both ends"

host_name = matching(
    rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*",
    "host name",
    "use letters, digits and hyphens, in parts of 1 to 63 characters joined by dots",
)
word = matching(rf"(?=.{{1,128}}\Z){_WORD}", "name", _WORD_HINT)
datacenter = matching(rf"(?=.{{1,128}}\Z){_WORD}", "datacenter", _WORD_HINT)
group_name = matching(rf"(?=.{{1,128}}\Z){_WORD}", "group name", _WORD_HINT)
meta_key = matching(
    r"(?!ionet_)[A-Za-z_][A-Za-z0-9_-]{0,127}",
    "meta key",
    "use letters, digits, hyphens and underscores, with a letter first; ionet_ is reserved",
)
tag = matching(
    r"(?!ionet_)[A-Za-z0-9][A-Za-z0-9_-]{0,62}",
    "tag",
    "use letters, digits, hyphens and underscores, with a letter or digit first; ionet_ is reserved",
)
gpu_model = matching(
    r"(?=.{1,64}\Z)[A-Za-z0-9]+(?:[ ._-][A-Za-z0-9]+)*",
    "GPU model",
    "write a short form such as rtx-4090 or h100-80gb",
)
reserved_gpu = matching(
    r"[0-9]{1,3}|GPU-[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "GPU",
    "write its index (0) or its UUID (GPU-…), as nvidia-smi -L shows them",
)
_fingerprint = matching(
    r"(?:[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})",
    "OpenPGP fingerprint",
    "write all of it, as gpg --fingerprint shows it: 40 or 64 hexadecimal digits",
)


def openpgp_fingerprint(value: object) -> str:
    """The whole fingerprint of an OpenPGP key in lower-case digits; spaces may stand between them."""
    return _fingerprint(text(value).replace(" ", "")).lower()


release = matching(
    r"[0-9]{1,4}(?:\.[0-9]{1,4}){2}(?:[-+][0-9A-Za-z.+-]{1,40})?",
    "version",
    "write all three numbers, such as 2.0.5",
)
driver_branch = matching(
    r"[0-9]{3}(?:-server)?(?:-open)?",
    "driver branch",
    "write the branch as the distribution's packages name it, such as 550 or 550-server",
)
country_code = matching(r"[A-Za-z]{2}", "country", "write the two letters of ISO 3166, such as IS or NO")
user = matching_unquoted(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}", "a user name")
environment_variable = matching_unquoted(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")
keyring_entry = matching_unquoted(r"[^/\s]+/\S+", "service/user")
vault_mount = matching(
    rf"(?=.{{1,128}}\Z){_WORD}(?:/{_WORD})*",
    "mount",
    "write the path of the engine, such as pki-eu or eu/pki",
)
vault_field = matching_unquoted(r"[^/#\s]+/[^#\s]+#[^#\s]+", "mount/path#field")
stdin_name = matching_unquoted(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", "a name in the document on standard input")


def node_pool(value: object) -> str:
    """The name of a node pool that a node may be in (Nomad: 1 to 128 of ``A-Za-z0-9-_``; ``all`` is no node's)."""
    if value == "all":
        raise FieldError("'all' is every pool and no node can be in it", "leave it out for the pool default")
    return _pool(value)


_pool = matching(
    r"[A-Za-z0-9_-]{1,128}", "node pool", "use 1 to 128 letters, digits, hyphens and underscores"
)


def region_name(value: object) -> str:
    """The name of a Nomad region; it becomes part of certificates' names."""
    if value == AUTO_REGION:
        raise FieldError("auto is no region's name", "a host says region: auto to have one chosen")
    return _region(value)


def host_region(value: object) -> str:
    """The region that a host joins, or ``auto`` where the survey chooses one."""
    return _region(value)


_region = matching(rf"(?=.{{1,63}}\Z){_WORD}", "region name", _WORD_HINT)


def country(value: object) -> str:
    """A country's ISO 3166-1 alpha-2 code in capitals."""
    return country_code(value).upper()


def flag(value: object) -> bool:
    """``true`` or ``false``."""
    return choice("true", "false")(value) == "true"


def version_one(value: object) -> Literal[1]:
    """The only version of the format."""
    if text(value) != "1":
        raise FieldError(
            f"{quoted(text(value))} is a version of the format that is not known", "write version: 1"
        )
    return 1


def check_code(value: object) -> str:
    """The code of a check that a site may waive, lower or raise."""
    code = CODES.get(text(value))
    if code is None:
        hint = did_you_mean(str(value), CODES) or "ionetctl explain lists them"
        raise FieldError(f"{quoted(str(value))} is no check's code", hint)
    if not code.may_be_waived:
        raise FieldError(
            f"{code.name} is for no inventory to change: an enrolment cannot do without it", code.remedy
        )
    return code.name


def days(value: object) -> int:
    """A validity such as ``1825d``, in days."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})d", text(value))
    if match is None or int(match[1]) > 36500:  # noqa: PLR2004  (a hundred years)
        raise FieldError(
            f"{quoted(text(value))} is no validity", "write days from 1d to 36500d, such as 1825d"
        )
    return int(match[1])
