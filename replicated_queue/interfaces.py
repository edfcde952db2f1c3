"""What the replicated queue asks of its program: a state machine to apply to, and a way to its peers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, Protocol

PeerId = int  # 64 bits; pinode writes the same number as 16 hexadecimal digits
Lane = Literal["votes", "appends"]  # votes and heartbeats never queue behind appends

KIND_BYTES: Final = 8  # of a digest, at its beginning: what it is a hash of
CUT: Final = b""  # in the chunks of a snapshot: the state is that of now


class StateMachine(Protocol):
    """What the log is about. Every replica gives it the same commands in the same order."""

    def apply(self, command: bytes, *, index: int, now: int, parts: Sequence[Any] = ()) -> Sequence[Any]:
        """Run one committed command, and return what came of each request in it (a refusal is a result too).

        `index` is the entry's place in the log, `now` cluster time in milliseconds. A command is what one or
        several proposers said, one behind the other; `parts` are what they handed in beside their bytes,
        where all of them did so on this replica. Pure and deterministic: it never raises for a request that
        was refused; an exception is a bug and stops the node.
        """
        ...

    def digest_steps(self) -> Generator[None, None, bytes]:
        """Hash of the whole state, in short steps between which nothing is applied.

        Equal on all replicas at one applied index; its first `KIND_BYTES` say what it is a hash of: where
        they differ, as between programs of two versions, the rest says nothing.
        """
        ...

    def snapshot(self) -> Iterator[bytes]:
        """The whole state in chunks, each a short piece of work (some milliseconds at most).

        Commands go on being applied between two chunks. One chunk is `CUT`: the snapshot is of the state at
        that moment. To let go of it before its end, close it.
        """
        ...

    def restore(self, chunks: Iterable[bytes]) -> Generator[None, None, Callable[[], None]]:
        """Read chunks of `snapshot` (without `CUT`) in short steps, beside the state, which stays as it is.

        The function that is returned at the end makes the state be what was read, at once. Raises
        `QueueError` when the chunks cannot be read.
        """
        ...


class Transport(Protocol):
    """Authenticated links to the peers, handed in by the program (pinode: mutual TLS)."""

    def send(self, peer: PeerId, frame: bytes, *, lane: Lane) -> None:
        """Queue one frame for the peer and return at once; it may be lost, never reordered within a lane."""
        ...

    async def call(self, peer: PeerId, frame: bytes, *, timeout_seconds: float) -> bytes:
        """Ask the peer's broker and return its answer. Raises `OSError` or `TimeoutError`."""
        ...

    def fetch(self, peer: PeerId, request: bytes) -> AsyncIterator[bytes]:
        """Ask the peer's replica for the bytes of a snapshot (`ReplicaService.serve_snapshot`).

        On a connection of its own, slowed down to what the reader takes. Raises `OSError` or `TimeoutError`
        when it ends before its end.
        """
        ...


FrameHandler = Callable[[PeerId, bytes], None]
CallHandler = Callable[[bytes], Awaitable[bytes]]
