"""One member for benchmarks.gossip, of any of the libraries compared: prints `joined NAME` and `dead NAME`."""

import asyncio
import base64
import hashlib
import sys
from random import SystemRandom

PORT = 7400
KEY = hashlib.sha256(b"a benchmark's key is no secret").digest()


async def run_gossip(name: str, ip: str, seed: str) -> None:
    from gossip.events import Event, MemberAlive, MemberDied, MemberJoined
    from gossip.keys import KeyRing, derive_from
    from gossip.sealing import EchoSeal
    from gossip.service import Gossip
    from gossip.streams import SealedStreams

    keys, random = KeyRing(derive_from(KEY)), SystemRandom()
    streams = SealedStreams(keys=keys, random=random)
    node_id = hashlib.sha256(name.encode()).hexdigest()[:16]
    gossip = Gossip(
        node_id=node_id,
        name=name,
        address=(ip, PORT),
        bind=(ip, PORT),
        run_id=1,
        cluster_id=b"benchmark",
        seal=EchoSeal(node_id, keys=keys, cluster_id=b"benchmark", random=random),
        exchange=streams.exchange,
        seeds=[(seed, PORT)] if seed != ip else [],
    )

    def heard(event: Event) -> None:
        if isinstance(event, MemberJoined | MemberAlive):
            print("joined", event.member.name, flush=True)
        elif isinstance(event, MemberDied):
            print("dead", event.member.name, flush=True)

    gossip.subscribe(heard)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gossip.run())
        tasks.create_task(streams.serve((ip, PORT), gossip.answer_exchange))


async def run_kinship(name: str, ip: str, seed: str) -> None:
    import kinship  # type: ignore[import-not-found,unused-ignore]

    key = base64.b64encode(KEY).decode()
    config = kinship.Config.lan(name=name, bind=f"{ip}:{PORT}", keys=[key], seeds=[f"{seed}:{PORT}"])
    async with kinship.Cluster(config) as cluster:
        for member in cluster.members():
            if member.name != name:
                print("joined", member.name, flush=True)
        async for event in cluster.events():
            word = {"MemberJoined": "joined", "MemberAlive": "joined", "MemberDead": "dead"}.get(
                type(event).__name__
            )
            if word:
                print(word, event.member.name, flush=True)


async def run_nothing(name: str, ip: str, seed: str) -> None:
    """An event loop and nothing else: what the others' memory is compared to."""
    await asyncio.Event().wait()


KINDS = {"gossip": run_gossip, "kinship": run_kinship, "nothing": run_nothing}

if __name__ == "__main__":
    asyncio.run(KINDS[sys.argv[1]](*sys.argv[2:5]))
