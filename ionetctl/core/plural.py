"""Counted nouns in messages. Pure."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """``1 host``, ``5,000 hosts``; the noun is one whose plural ends with s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
