"""Turning away: a listening socket that lets nobody new in, while who waits in its queue is still accepted.

Decided here: how. Not decided here: when (``listeners.py``). The last process that closes a listening socket resets
whoever waits in its queue, and whoever came between its last look and the close: a request may be lost with each. A
filter that drops the first packet of a connection (a SYN) leaves the queue as it is, and nobody comes to it any more;
who is dropped tries again a second later (tcp(7), tcp_syn_retries) and is refused then, or served by whoever listens.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

__all__ = ["turn_away"]

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; socket(7)
_FLAGS_OFFSET = 13  # of a TCP header; a filter of a TCP socket sees packets from there on
_SYN = 0x02
_DROP, _PASS = 0, 0xFFFF_FFFF

_LOAD_BYTE, _JUMP_IF_SET, _RETURN = 0x30, 0x45, 0x06  # linux/bpf_common.h: LD|B|ABS, JMP|JSET|K, RET|K
_FILTER = (
    (_LOAD_BYTE, 0, 0, _FLAGS_OFFSET),
    (_JUMP_IF_SET, 0, 1, _SYN),
    (_RETURN, 0, 0, _DROP),
    (_RETURN, 0, 0, _PASS),
)


def turn_away(listening: socket.socket) -> None:
    """Let nobody new in on a TCP socket, whichever processes hold it. Elsewhere than on Linux nothing is done.

    Raise OSError where the system refuses.
    """
    if sys.platform != "linux" or listening.family not in (socket.AF_INET, socket.AF_INET6):
        return
    code = b"".join(struct.pack("HBBI", *one) for one in _FILTER)
    memory = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(_FILTER), ctypes.addressof(memory))  # struct sock_fprog
    listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
