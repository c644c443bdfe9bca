"""The addresses of this machine's network interfaces (``getifaddrs``, the same on Linux, macOS and BSD)."""

from __future__ import annotations

import ctypes
import socket
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

_IS_UP: Final = 1
_ADDRESS_AT: Final = {socket.AF_INET: (4, 4), socket.AF_INET6: (8, 16)}
"""Where in its ``sockaddr`` a family has its address, and how many bytes that has."""


class _Interface(ctypes.Structure):
    """The beginning of ``struct ifaddrs``."""


_Interface._fields_ = [
    ("next", ctypes.POINTER(_Interface)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def local_addresses() -> list[IPv4Address | IPv6Address]:
    """The addresses of the interfaces that are up. Raises ``OSError``."""
    library = ctypes.CDLL(None, use_errno=True)
    first = ctypes.POINTER(_Interface)()
    if library.getifaddrs(ctypes.byref(first)) != 0:
        raise OSError(ctypes.get_errno(), "the addresses of this machine cannot be listed")
    try:
        found, interface = [], first
        while interface:
            if interface.contents.flags & _IS_UP and interface.contents.address:
                found += _addresses(interface.contents.address)
            interface = interface.contents.next
        return found
    finally:
        library.freeifaddrs(first)


def _addresses(sockaddr: int) -> list[IPv4Address | IPv6Address]:
    head = ctypes.string_at(sockaddr, 2)
    family = int.from_bytes(head, sys.byteorder) if sys.platform == "linux" else head[1]
    if family not in _ADDRESS_AT:
        return []
    offset, size = _ADDRESS_AT[socket.AddressFamily(family)]
    return [ip_address(ctypes.string_at(sockaddr + offset, size))]
