"""One member on the command line: `python -m gossip --bind HOST:PORT --join HOST:PORT --key-file FILE`."""

import argparse
import asyncio
import hashlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

from gossip.member import Address
from gossip.sealing import EchoSeal, derive_from
from gossip.service import Gossip
from gossip.streams import SealedStreams

CLUSTER_ID = b"python -m gossip"
ROW_SECONDS = 5.0


def address(text: str) -> Address:
    """`HOST:PORT`, `[HOST]:PORT` for IPv6."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is no address like 192.168.1.10:7300")
    return (host.removeprefix("[").removesuffix("]"), int(port))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m gossip", description="Take part, and print who else does.")
    made.add_argument("--bind", type=address, required=True, help="HOST:PORT (UDP and TCP) to listen on")
    made.add_argument("--advertise", type=address, help="HOST:PORT that others send to; default: --bind")
    made.add_argument("--join", type=address, action="append", default=[], help="any member; may be repeated")
    made.add_argument("--name", default=socket.gethostname(), help="shown to people")
    made.add_argument(
        "--key-file", type=Path, required=True, help="16 or more random bytes, the same at every member"
    )
    made.add_argument("--every", type=float, default=5.0, help="seconds between two printed tables")
    return made


def table(gossip: Gossip, *, now: float) -> str:
    """Members with their statistics, then what this one sent and received."""
    rows = gossip.stats()
    lines = [f"{'member':20} {'state':8} {'address':26} {'run.inc':>9}  statistics"]
    for member in sorted(gossip.members(), key=lambda one: (one.name, one.node_id)):
        row = rows.get(member.node_id)
        said = f"{row.payload.decode(errors='replace')} ({now - row.measured_at:.0f} s ago)" if row else "-"
        where = f"{member.address[0]}:{member.address[1]}"
        lines.append(
            f"{member.name:20} {member.state.name.lower():8} {where:26} "
            f"{member.run_id:>5}.{member.incarnation:<3}  {said}"
        )
    count = gossip.counters
    lines.append(
        f"sent {count.datagrams_sent} datagrams, {count.bytes_sent} bytes; "
        f"received {count.datagrams_received}, {count.bytes_received} bytes; "
        f"not opened {count.unopened}, malformed {count.malformed}; exchanges {count.exchanges} "
        f"({count.exchange_failures} failed); health {gossip.health_score}"
    )
    return "\n".join(lines)


def make(arguments: argparse.Namespace) -> tuple[Gossip, SealedStreams]:
    """The member and its streams. Raises `ValueError` or `OSError` for a key that will not do."""
    random = SystemRandom()
    derive = derive_from(arguments.key_file.read_bytes().strip())
    advertised = arguments.advertise or arguments.bind
    identity = f"{arguments.name} {advertised[0]} {advertised[1]}"
    node_id = hashlib.sha256(identity.encode()).hexdigest()[:16]
    streams = SealedStreams(derive=derive, random=random)
    gossip = Gossip(
        node_id=node_id,
        name=arguments.name,
        address=advertised,
        bind=arguments.bind,
        run_id=1,  # if others remember a later run of this node, they say so
        cluster_id=CLUSTER_ID,
        seal=EchoSeal(node_id, derive=derive, cluster_id=CLUSTER_ID, random=random),
        exchange=streams.exchange,
        seeds=[seed for seed in arguments.join if seed != advertised],
        random=random,
    )
    return gossip, streams


async def run(arguments: argparse.Namespace) -> None:
    """Take part until SIGINT or SIGTERM, then say goodbye."""
    gossip, streams = make(arguments)
    loop, ending = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)

    async def publish() -> None:
        while True:
            gossip.publish(f"load {os.getloadavg()[0]:.2f}".encode())
            await asyncio.sleep(ROW_SECONDS)

    async def show() -> None:
        while True:
            await asyncio.sleep(arguments.every)
            print(table(gossip, now=loop.time()), flush=True)

    async with asyncio.TaskGroup() as tasks:
        parts = [gossip.run(), streams.serve(arguments.bind, gossip.answer_exchange), publish(), show()]
        running = [tasks.create_task(part) for part in parts]
        await ending.wait()
        await gossip.leave()
        for task in running:
            task.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    try:
        asyncio.run(run(given))
    except (OSError, ValueError) as error:
        print(f"gossip: {error}", file=sys.stderr)
        return 1
    except ExceptionGroup as errors:
        print("gossip:", *errors.exceptions, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
