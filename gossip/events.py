"""What subscribers are told: one event for each change of a member's state, in the past tense."""

from dataclasses import dataclass

from gossip.member import Member


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """A member we did not know is alive."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberAlive:
    """A member we held suspect, dead or left is alive (perhaps as a new run)."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberSuspected:
    """A member did not answer; it is still taken for alive, and may refute."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberDied:
    """A member stayed silent until its suspicion ended."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """A member said goodbye."""

    member: Member


@dataclass(frozen=True, slots=True)
class MemberUpdated:
    """A live member has a new address, meta or run."""

    member: Member


@dataclass(frozen=True, slots=True)
class NameConflict:
    """A live node that was here before us has our name (or even our node id): we should give way.

    `other.address` is where it is.
    """

    other: Member


Event = MemberJoined | MemberAlive | MemberSuspected | MemberDied | MemberLeft | MemberUpdated | NameConflict
