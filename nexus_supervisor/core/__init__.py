"""The pure core: it decides everything and does nothing.

No clock, IO, threads, logging or randomness in here; time arrives as ``now`` and leaves as a deadline, and what is to
be done leaves as effects. Import what you need from the module that owns the noun.
"""
