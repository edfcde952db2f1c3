"""Invented messages from a seed, quicker than a property's: for millions of them."""

from random import Random

from gossip.member import Member, MemberState
from gossip.messages import (
    Ack,
    Datagram,
    FullState,
    Introduce,
    KnownMember,
    MemberUpdate,
    Message,
    Nack,
    NameTaken,
    News,
    NotMe,
    Ping,
    PingRequest,
    RowUpdate,
)
from tests.gossip.factories import NAMES, address, node_id


def random_id(random: Random) -> str:
    """Mostly somebody known, ourselves included."""
    return node_id(random.choice(NAMES)) if random.random() < 0.8 else f"{random.getrandbits(64):016x}"


def random_number(random: Random) -> int:
    return random.choice((0, 0, 1, 1, 2, 3, random.getrandbits(20), (1 << 53) - 2))


def random_member(random: Random) -> Member:
    return Member(
        node_id=random_id(random),
        name=random.choice(NAMES),
        address=address(random.choice(NAMES)),
        run_id=random_number(random),
        incarnation=random_number(random),
        state=random.choice(list(MemberState)),
        meta=random.randbytes(random.randrange(40)),
    )


def random_message(random: Random) -> Message:
    sequence, target, run_id = random.randrange(50), random_id(random), random_number(random)
    return random.choice(
        (
            Ping(sequence=sequence, target=target, target_run_id=run_id),
            PingRequest(
                sequence=sequence, target=target, target_run_id=run_id, address=address(random.choice(NAMES))
            ),
            Ack(sequence=sequence),
            Nack(sequence=sequence),
            NotMe(sequence=sequence),
            News(),
            Introduce(),
            NameTaken(uptime_seconds=random.uniform(0, 1e6)),
        )
    )


def random_row(random: Random) -> RowUpdate:
    return RowUpdate(
        node_id=random_id(random),
        run_id=random_number(random),
        version=random_number(random),
        age_seconds=random.uniform(0, 100),
        payload=random.randbytes(random.randrange(60)),
    )


def random_datagram(random: Random) -> Datagram:
    return Datagram(
        sender=random_id(random),
        run_id=random_number(random),
        incarnation=random_number(random),
        beat=random.uniform(0, 1e6),
        message=random_message(random),
        updates=tuple(
            MemberUpdate(member=random_member(random), by=random_id(random))
            for _ in range(random.randrange(3))
        ),
        rows=tuple(random_row(random) for _ in range(random.randrange(2))),
    )


def random_state(random: Random) -> FullState:
    return FullState(
        sender=random_id(random),
        run_id=random_number(random),
        beat=random.uniform(0, 1e6),
        members=tuple(
            KnownMember(member=random_member(random), gone_seconds=random.uniform(0, 1e5))
            for _ in range(random.randrange(4))
        ),
        rows=tuple(random_row(random) for _ in range(random.randrange(2))),
    )
