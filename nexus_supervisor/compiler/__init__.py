"""The compiler: a process without keys that reads, parses and validates what people wrote.

Start it as ``python -m nexus_supervisor.compiler FD``; ``compile_once`` does so for a single verdict.
"""

from nexus_supervisor.compiler.check import compile_once

__all__ = ["compile_once"]
