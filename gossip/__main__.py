"""One member on the command line: `python -m gossip --bind HOST:PORT --join HOST:PORT --key-file FILE`."""

import argparse
import asyncio
import base64
import binascii
import hashlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from gossip.keys import KeyRing, derive_from
from gossip.member import Address
from gossip.sealing import EchoSeal
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
        "--key-file",
        type=Path,
        required=True,
        help="keys in base64, one a line: all open, the first seals; read again at SIGHUP",
    )
    made.add_argument("--every", type=float, default=5.0, help="seconds between two printed tables")
    return made


def read_keys(file: Path) -> KeyRing:
    """The keys of a file, the first in use. Raises `OSError`, or `ValueError` for what is no key."""
    keys: KeyRing | None = None
    for line in file.read_text().split():
        try:
            derive = derive_from(base64.b64decode(line, validate=True))
        except (binascii.Error, ValueError) as error:
            raise ValueError(
                f"{file}: a line is no key. Make one: head -c 32 /dev/urandom | base64"
            ) from error
        if keys is None:
            keys = KeyRing(derive)
        else:
            keys.install(derive)
    if keys is None:
        raise ValueError(f"{file} has no key. Make one: head -c 32 /dev/urandom | base64")
    return keys


@dataclass(frozen=True, slots=True)
class Program:
    """One member and what belongs to it."""

    gossip: Gossip
    streams: SealedStreams
    keys: KeyRing
    seal: EchoSeal

    def read_keys_again(self, file: Path) -> None:
        """Take over what the file says now; an unreadable one changes nothing."""
        try:
            self.keys.become(read_keys(file))
        except (OSError, ValueError) as error:
            print(f"gossip: the keys stay as they are: {error}", file=sys.stderr, flush=True)


def table(program: Program, *, now: float) -> str:
    """Members with their statistics, then keys, then what this one sent and received."""
    gossip = program.gossip
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
    count, sealing = gossip.counters, program.seal.counters
    used = program.seal.keys_of_members()
    live = {member.node_id for member in gossip.members() if member.state.is_live}
    others = sum(used[one] != program.keys.in_use for one in used.keys() & live)
    lines.append(
        f"key {program.keys.in_use} in use, {len(list(program.keys)) - 1} more open; "
        f"{others} live members seal by another; {sealing.strangers} datagrams opened by none, "
        f"{sealing.replayed} replayed"
    )
    lines.append(
        f"sent {count.datagrams_sent} datagrams, {count.bytes_sent} bytes; "
        f"received {count.datagrams_received}, {count.bytes_received} bytes; "
        f"not opened {count.unopened}, malformed {count.malformed}; exchanges {count.exchanges} "
        f"({count.exchange_failures} failed); health {gossip.health_score}"
    )
    return "\n".join(lines)


def make(arguments: argparse.Namespace) -> Program:
    """The member and its streams. Raises `ValueError` or `OSError` for a key that will not do."""
    random, keys = SystemRandom(), read_keys(arguments.key_file)
    advertised = arguments.advertise or arguments.bind
    identity = f"{arguments.name} {advertised[0]} {advertised[1]}"
    node_id = hashlib.sha256(identity.encode()).hexdigest()[:16]
    streams = SealedStreams(keys=keys, random=random)
    seal = EchoSeal(node_id, keys=keys, cluster_id=CLUSTER_ID, random=random)
    gossip = Gossip(
        node_id=node_id,
        name=arguments.name,
        address=advertised,
        bind=arguments.bind,
        run_id=1,  # if others remember a later run of this node, they say so
        cluster_id=CLUSTER_ID,
        seal=seal,
        exchange=streams.exchange,
        seeds=[seed for seed in arguments.join if seed != advertised],
        random=random,
    )
    return Program(gossip, streams, keys, seal)


async def run(arguments: argparse.Namespace) -> None:
    """Take part until SIGINT or SIGTERM, then say goodbye."""
    program = make(arguments)
    gossip = program.gossip
    loop, ending = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ending.set)
    loop.add_signal_handler(signal.SIGHUP, program.read_keys_again, arguments.key_file)

    async def publish() -> None:
        while True:
            gossip.publish(f"load {os.getloadavg()[0]:.2f}".encode())
            await asyncio.sleep(ROW_SECONDS)

    async def show() -> None:
        while True:
            await asyncio.sleep(arguments.every)
            print(table(program, now=loop.time()), flush=True)

    async with asyncio.TaskGroup() as tasks:
        serving = program.streams.serve(arguments.bind, gossip.answer_exchange)
        parts = [gossip.run(), serving, publish(), show()]
        running = [tasks.create_task(part) for part in parts]
        await ending.wait()
        await gossip.leave()
        for task in running:
            task.cancel()


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
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
