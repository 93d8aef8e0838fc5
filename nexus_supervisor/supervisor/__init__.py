"""The supervisor process: the IO shell around the pure core.

The only place that does IO for the fleet. ``run.py`` is the way in; ``service.py`` owns the fleet; each other file
talks to one party: the compiler, a worker, the disk, the directory, a client.
"""
