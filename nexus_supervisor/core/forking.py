"""What the supervisor and a zygote say to each other: one closed union in each direction.

Decided here: the messages and their fields. Not decided here: what they lead to (``supervisor/zygotes.py`` on one side,
``agent/zygote.py`` on the other). Neither key nor pepper is among them: a worker is told those over a pipe of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from nexus_supervisor.core.codec import Codec

__all__ = [
    "FROM_ZYGOTE",
    "TO_ZYGOTE",
    "Fork",
    "Forked",
    "FromZygote",
    "Load",
    "Loaded",
    "NotForked",
    "NotLoaded",
    "ToZygote",
]


@dataclass(frozen=True, slots=True)
class Load:
    """Tell a fresh zygote what to import: always the first message, answered by Loaded or NotLoaded.

    ``name`` is the group of the settings, ``generation`` counts how often the code was loaded anew. ``models`` are
    those of the sections, ``hooks`` the module of the application's hooks, each as the settings name it. ``tls`` is the
    section with the certificates of listening sockets, or empty. ``limits`` are those of ``agent/confine.py``.
    """

    name: str
    generation: int
    directory: str
    program: str
    app: str
    hooks: str
    models: tuple[str, ...]
    tls: str
    log_level: str
    log_format: str
    limits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Fork:
    """Have a worker made; answered by Forked or NotForked with the same number.

    Descriptors beside it: the worker's end of its pipe, then what becomes its stdout and stderr if ``stdio``.
    """

    number: int
    trial: bool
    stdio: bool


ToZygote = Load | Fork


@dataclass(frozen=True, slots=True)
class Loaded:
    """Say that everything is imported.

    ``unfit`` names what the imports left behind that workers can't share, in words; where there is something, the
    zygote ends, and workers have to be started without it.
    """

    unfit: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """Say why something can't be imported; the zygote ends."""

    reason: str


@dataclass(frozen=True, slots=True)
class Forked:
    """Say that a worker was made, and which process it is: a child of the supervisor."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class NotForked:
    """Say why the system refused a process."""

    number: int
    reason: str


FromZygote = Loaded | NotLoaded | Forked | NotForked

TO_ZYGOTE: Codec[ToZygote] = Codec(ToZygote)
FROM_ZYGOTE: Codec[FromZygote] = Codec(FromZygote)
