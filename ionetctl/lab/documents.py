"""The shape of the JSON-like documents that the rehearsal passes around. No behaviour."""

from __future__ import annotations

from typing import Any, TypeAlias

Document: TypeAlias = dict[str, Any]
"""A JSON object whose keys Nomad fixes, not we."""
