"""How long a job waits between two attempts: longer each time, and not in step with others."""

from typing import Final
from zlib import crc32

MAX_BACKOFF_MS: Final = 10 * 60 * 1000
LONGEST_SHIFT: Final = 32  # beyond it any base is over the maximum


def backoff_ms(base_ms: int, *, attempts: int, job_id: int) -> int:
    """Of a job that failed `attempts` times: its base, doubled with each attempt, at most ten minutes.

    The second attempt waits for nothing, for most failures are their worker's end and not the job's fault. Up
    to half of a wait is taken off again, by a hash of the job and the attempt: jobs that failed together do
    not come back together, and every replica finds the same.
    """
    if attempts < 2:
        return 0
    longest_ms = min(base_ms << min(attempts - 2, LONGEST_SHIFT), MAX_BACKOFF_MS)
    return longest_ms - (longest_ms // 2) * (crc32(b"%d %d" % (job_id, attempts)) % 1024) // 1023
