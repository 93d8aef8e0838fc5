"""The jobs: one call takes a few of them from the queue and writes a letter for each."""

from __future__ import annotations

import logging
import time
from functools import cache

from mail_queue import Job, Queue

from nexus_supervisor import current

logger = logging.getLogger("mail")


def handle() -> bool:
    """Do what is due, all with the knobs of one version; say whether there was anything."""
    knobs = current().knobs["mail"]
    jobs = queue().claim(knobs.batch, knobs.max_attempts, knobs.lease_seconds)
    for job in jobs:
        time.sleep(knobs.seconds_per_mail)
        try:
            text = letter(job)
        except ValueError as error:
            logger.warning("job %d, attempt %d: %s", job.id, job.attempt, error)
            queue().failed(job, str(error), knobs.max_attempts, knobs.retry_seconds * 2 ** (job.attempt - 1))
        else:
            if not queue().done(job, text, current().version):
                logger.warning("job %d took longer than its lease and is somebody else's now", job.id)
    return bool(jobs)


def letter(job: Job) -> str:
    """Write the letter for a job; raise ValueError where that can't be."""
    name, at, _ = job.address.partition("@")
    if not (name and at):
        message = f"{job.address} is no address"
        raise ValueError(message)
    knobs = current().knobs["mail"]
    return f"{knobs.greeting.replace('{name}', name)} thank you. {knobs.closing}"


@cache
def queue() -> Queue:
    """Return the queue, opened once in each worker."""
    return Queue()
