"""Workers that wait for a job which never comes, at the node that this is started on.

python -m benchmarks.waiting_reserves DATA_DIR COUNT
"""

import asyncio
import sys

from replicated_queue import QueueClient

TOPIC = "nobody-puts-here"
AT_ONCE_SECONDS = 3600.0  # the client asks again within it, as often as the protocol wants


async def wait_for_ever(client: QueueClient) -> None:
    while True:
        assert await client.reserve(TOPIC, wait=AT_ONCE_SECONDS) is None


async def main(data_dir: str, count: int) -> None:
    """Wait with so many at once until killed."""
    async with QueueClient.local(data_dir) as client, asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(wait_for_ever(client))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
