"""NATS JetStream: three servers, a work queue on files with three replicas, and its own Python client.

In its favour: its streams are written to files but synced every two minutes only, and there is no TLS.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import nats
from nats.js.api import ConsumerConfig, RetentionPolicy, StorageType, StreamConfig

from benchmarks.queue_load import JOB, cpu_of

SUBJECT = "bench"
START_SECONDS = 30.0


async def _be_quiet(error: Exception) -> None:
    """Its servers need a moment to listen."""


class NatsQueue:
    """`MeasuredQueue` of a JetStream work queue."""

    name = "nats"

    def __init__(self, folder: Path, ports: list[int]) -> None:
        server = shutil.which("nats-server") or "/usr/sbin/nats-server"
        clients, routes = ports[:3], ports[3:6]
        self._url = [f"nats://127.0.0.1:{port}" for port in clients]
        self._processes = []
        for place in range(3):
            home = folder / f"nats{place}"
            home.mkdir(parents=True)
            others = ", ".join(f"nats://127.0.0.1:{port}" for port in routes if port != routes[place])
            (home / "server.conf").write_text(
                f'server_name: n{place}\nlisten: 127.0.0.1:{clients[place]}\njetstream {{ store_dir: "{home}" }}\n'
                f"cluster {{ name: bench, listen: 127.0.0.1:{routes[place]}, routes: [{others}] }}\n"
            )
            with (home / "log").open("wb") as log:
                self._processes.append(
                    subprocess.Popen([server, "-c", str(home / "server.conf")], stdout=log, stderr=log)
                )

    async def connect(self) -> None:
        """Make the stream, once the servers have found each other."""
        self._client = await nats.connect(servers=self._url, max_reconnect_attempts=-1, error_cb=_be_quiet)
        self._stream = self._client.jetstream(timeout=10)
        config = StreamConfig(
            name="BENCH",
            subjects=[SUBJECT],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            num_replicas=3,
        )
        async with asyncio.timeout(START_SECONDS):
            while True:
                with contextlib.suppress(nats.errors.Error, TimeoutError):
                    await self._stream.add_stream(config)
                    break
                await asyncio.sleep(0.2)
        config = ConsumerConfig(durable_name="workers", max_ack_pending=10_000, max_waiting=1_000)
        self._free = [await self._stream.pull_subscribe(SUBJECT, durable="workers", config=config)]

    async def put(self) -> object:
        return await self._stream.publish(SUBJECT, JOB)

    async def cycle(self) -> object:
        await self._stream.publish(SUBJECT, JOB)
        # One subscription a worker: the answers to two fetches on one get mixed up.
        if not self._free:
            self._free.append(await self._stream.pull_subscribe_bind("workers", "BENCH"))
        subscription = self._free.pop()
        (message,) = await subscription.fetch(1, timeout=10)
        self._free.append(subscription)
        return await message.ack_sync(timeout=10)

    async def drain(self) -> None:
        await self._stream.purge_stream("BENCH")

    def cpu_seconds(self) -> tuple[float, float]:
        return cpu_of([process.pid for process in self._processes]), cpu_of([os.getpid()])

    async def close(self) -> None:
        await self._client.close()

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
