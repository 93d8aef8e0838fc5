"""Listening sockets that this process was started with: systemd's (sd_listen_fds(3)) and any other one.

Decided here: which descriptors are taken, under which names, and that each is what it should be. Not decided here: who
listens on them (``listeners.py``). They stay open as long as this process lives, so that a restart which gives one up
can be followed by one that takes it again; no process that is started gets one but by order.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nexus_supervisor.core.handover import HandedInherited
from nexus_supervisor.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["FIRST_DESCRIPTOR", "Inherited"]

FIRST_DESCRIPTOR = 3
"""The first one after stdio: where the protocol begins to count."""

_VARIABLES = ("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID")
_DESCRIPTORS = ("/proc/self/fd", "/dev/fd")


@dataclass(frozen=True, slots=True)
class Inherited:
    """Hold the descriptors by number, the numbers by name, and why others of the protocol can't be used."""

    sockets: Mapping[int, socket.socket] = field(default_factory=dict, repr=False)
    names: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    remark: str = ""

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> Inherited:
        """Take what was inherited, and clear the variables that said so: they are about this process alone."""
        given = {name: environment.pop(name) for name in _VARIABLES if name in environment}
        told, remark = _told(given)
        sockets: dict[int, socket.socket] = {}
        refused: dict[int, str] = {}
        for number in sorted(told.keys() | _passed_over_exec()):
            taken = _taken(number)
            if isinstance(taken, socket.socket):
                sockets[number] = taken
            elif number in told:
                refused[number] = taken
        names: dict[str, tuple[int, ...]] = {}
        for number, name in told.items():
            names[name] = (*names.get(name, ()), number)
        return cls(sockets, names, refused, remark)

    @classmethod
    def resumed(cls, handed: HandedInherited) -> Inherited:
        """Go on with what an earlier one took; every number is what it was."""
        sockets = {number: socket.socket(fileno=number) for number in handed.sockets}
        for one in sockets.values():
            one.setblocking(False)  # noqa: FBT003 - the signature of the standard library
        refused = {int(number): reason for number, reason in handed.refused.items()}
        return cls(sockets, handed.names, refused, handed.remark)

    def handed(self) -> HandedInherited:
        """Return what a later one needs to go on."""
        refused = {str(number): reason for number, reason in self.refused.items()}
        return HandedInherited(tuple(self.sockets), dict(self.names), refused, self.remark)

    def holds(self, one: socket.socket) -> bool:
        """Say whether a socket is one of these, by whichever descriptor."""
        return any(os.path.sameopenfile(one.fileno(), other.fileno()) for other in self.sockets.values())

    def numbers(self, name: str) -> tuple[int, ...]:
        """Return the descriptors that a number or a name means, all of them sockets of ours; raise RejectedError."""
        numbers = (int(name),) if name.isdecimal() else self.names.get(name, ())
        unusable = [f"descriptor {number} is {self.refused[number]}" for number in numbers if number in self.refused]
        if unusable:
            message = f"fd://{name} can't be used: {'; '.join(unusable)}; expected a listening stream socket"
            raise RejectedError(message)
        if not numbers or not all(number in self.sockets for number in numbers):
            raise RejectedError(self._absent(name))
        return numbers

    def copy(self, number: int) -> socket.socket:
        """Return a new descriptor of one of the sockets."""
        return self.sockets[number].dup()

    def bound_to(self, family: int, place: object) -> socket.socket | None:
        """Return a new descriptor of the socket that is bound to a place as the kernel names it; None without one."""
        for one in self.sockets.values():
            if one.family == family and one.getsockname() == place:
                return one.dup()
        return None

    def close(self) -> None:
        """Close all."""
        for one in self.sockets.values():
            one.close()

    def _absent(self, name: str) -> str:
        known = [*sorted(self.names), *(str(number) for number in sorted(self.sockets))]
        there = f"there are {', '.join(f'fd://{one}' for one in known)}" if known else "none was passed to it"
        remark = f" ({self.remark})" if self.remark else ""
        return (
            f"fd://{name} is no listening socket that the supervisor was started with: {there}{remark}; have systemd "
            f"pass it (FileDescriptorName={'NAME' if name.isdecimal() else name} of a .socket unit), or choose another "
            "address"
        )


def _told(given: Mapping[str, str]) -> tuple[dict[int, str], str]:
    """Return the names of the descriptors that the protocol passes, by number, and what is odd about them."""
    if "LISTEN_FDS" not in given:
        return {}, ""
    if given.get("LISTEN_PID") != str(os.getpid()):
        return {}, f"LISTEN_PID is {given.get('LISTEN_PID', 'not set')!s}, this is process {os.getpid()}"
    count = given["LISTEN_FDS"]
    if not (count.isdecimal() and count.isascii()) or len(count) > len("4096"):
        return {}, "LISTEN_FDS is no number of descriptors"
    names = given.get("LISTEN_FDNAMES", "").split(":")
    told = {}
    for index in range(int(count)):
        named = names[index] if index < len(names) else ""
        told[FIRST_DESCRIPTOR + index] = named or "unknown"
    return told, ""


def _passed_over_exec() -> set[int]:
    """Return the descriptors that came with this process: whatever Python opens is not inheritable."""
    for place in _DESCRIPTORS:
        with suppress(OSError):
            numbers = [int(name) for name in os.listdir(place)]  # noqa: PTH208 - names only
            return {number for number in numbers if number >= FIRST_DESCRIPTOR and _is_inheritable(number)}
    return set()


def _is_inheritable(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:  # that of the listing, closed again
        return False


def _taken(number: int) -> socket.socket | str:
    """Return the listening socket of a descriptor, not inheritable and non-blocking, or what it is instead."""
    try:
        found = socket.socket(fileno=number)
    except OSError:
        return "no open socket"
    if (wrong := _unfit(found)) is not None:
        found.detach()
        return wrong
    found.set_inheritable(False)
    found.setblocking(False)  # noqa: FBT003 - the signature of the standard library
    return found


def _unfit(found: socket.socket) -> str | None:
    if found.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        return "a socket of another family than IPv4, IPv6 and Unix"
    if found.type != socket.SOCK_STREAM:
        return "a socket that is no stream"
    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "a socket that doesn't listen"
    return None
