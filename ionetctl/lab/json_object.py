"""The type of JSON objects: API documents, RPC messages, plans."""

from __future__ import annotations

from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]
"""A decoded JSON object."""
