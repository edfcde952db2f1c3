"""How a machine that has a join token and nothing else becomes a node of the token's cluster."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from pinode.errors import Conflict, InvalidInput, NotAllowed, PinodeError
from pinode.peers.certificates import is_issued_by_peer_authority, public_key_hash
from pinode.peers.cluster_key import ClusterKey, read_cluster_key
from pinode.peers.coming_back import ComingBack
from pinode.peers.connection import FrameConnection
from pinode.peers.derived_keys import derived
from pinode.peers.errors import MalformedFrame, PeerUnreachable
from pinode.peers.founding_record import FoundingMember, FoundingRecord
from pinode.peers.founding_store import FoundingStore, write_to_the_end
from pinode.peers.held_keys import HeldKeys, decode_held
from pinode.peers.identity import load_node_id
from pinode.peers.join_codec import Admitted, JoinRequest, Rejected, decode_answer, encode_request
from pinode.peers.join_token import JoinToken
from pinode.peers.key_store import KeyStore
from pinode.peers.rejoin import Rejoin
from pinode.peers.tls import PEER_NAME, join_client_context
from pinode.settings import Address, Settings

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 20.0  # to have a node agreed on, with a new leader if it must be
FIRST_PAUSE_SECONDS = 0.5
LAST_PAUSE_SECONDS = 5.0
_CLASSES: dict[str, type[PinodeError]] = {
    "join_token_refused": NotAllowed,
    "node_name_taken": Conflict,
    "node_was_removed": Conflict,
    "node_too_old": Conflict,
    "too_many_nodes": Conflict,
    "invalid_node": InvalidInput,
}


@dataclass(frozen=True, slots=True)
class Joining:
    """What `pinode start --join` asked for; a node that is one already needs none of it."""

    token: JoinToken | None = None
    is_asked_for: bool = False  # a cluster that is there is meant: none is to be founded


class AnotherCluster(Conflict):
    """Whoever answers is not of the cluster that the token is of: it is told nothing."""

    code = "another_cluster"

    def __init__(self, where: Address) -> None:
        super().__init__(
            f"the node at {where} is not of the cluster that the join token is of.",
            hint="Make a new token on a node of the cluster that is meant.",
        )


async def join_with_token(
    settings: Settings,
    token: JoinToken,
    *,
    name: str,
    host: str,
    rejoin: Rejoin | None = None,
    pause: float = FIRST_PAUSE_SECONDS,
) -> None:
    """Have this machine's key, key of the cluster and founding record in place, as one that was admitted.

    A machine that has a record is a node already, and says so; one that lost its state (`rejoin`) asks for
    its old place. Waits while no member answers, or none can say. Raises what the cluster refuses, `Conflict`
    where this machine holds the key of another one.
    """
    store = FoundingStore(settings.node.data_dir)
    if (record := store.record()) is not None:
        _say_not_used(settings, token, record)
        return
    _refuse_another_key(settings, token)
    back = None if rejoin is None else ComingBack(rejoin, data_dir=settings.node.data_dir, name=name)
    if back is not None:
        back.refuse_copy()
    node_id = load_node_id(settings.node.data_dir)
    member = FoundingMember(node_id=node_id, name=name, host=host, peer_port=settings.listen.peer.port)
    local = settings.listen.peer.host
    request = JoinRequest(member, replaces=back.replaces if back else None, secret=token.secret)
    admitted = await _ask_until_told(
        token,
        request,
        addresses=dict.fromkeys((*token.addresses, *settings.cluster.join)),
        local_address=None if local in ("0.0.0.0", "::") else (local, 0),
        back=back,
        pause=pause,
    )
    key = ClusterKey(admitted.cluster_key)
    if public_key_hash(derived(key).authority_pem) != token.authority_hash:
        raise AnotherCluster(admitted.addresses[0])
    held = decode_held(admitted.held_keys) if admitted.held_keys else HeldKeys(in_use=key)
    if held.in_use != key:
        raise MalformedFrame("an admission with two different keys")
    if back is not None and not back.is_to(admitted.record):
        logger.warning(
            "this machine was in another cluster than the token is of name=%s", admitted.record.name
        )
    KeyStore.of(settings).keep(held)
    store.keep_joined(node_id, admitted.record, admitted.addresses)
    logger.info("joined the cluster name=%s as=%s id=%s", admitted.record.name, name, node_id)


def error_of(rejected: Rejected) -> PinodeError:
    """What a member said, as this machine's own error."""
    kind = _CLASSES.get(rejected.code, PinodeError)
    return kind(rejected.message, hint=rejected.hint, code=rejected.code)


async def raise_what_is_final(rejected: Rejected, back: ComingBack | None) -> None:
    """Return where asking again may help; `back`: the way back of a node that lost its state."""
    if rejected.is_passing or (back is not None and back.may_wait(rejected.code)):
        return
    if back is not None:
        await write_to_the_end(back.note_refusal, rejected.code)
    raise error_of(rejected)


def _say_not_used(settings: Settings, token: JoinToken, record: FoundingRecord) -> None:
    """A start by a unit file may name its token for ever; who means another cluster is to notice."""
    try:
        own = public_key_hash(derived(read_cluster_key(settings.cluster.key_file)).authority_pem)
    except FileNotFoundError:
        own = b""
    if own == token.authority_hash:
        logger.info("the join token is not used, this is a node of its cluster already name=%s", record.name)
        return
    logger.warning(
        "the join token is NOT used: this is a node of a cluster already, the token is of another one, or "
        "from before the cluster key was rotated; `pinode leave` takes this node out of its cluster name=%s",
        record.name,
    )


def _refuse_another_key(settings: Settings, token: JoinToken) -> None:
    file = settings.cluster.key_file
    try:
        key = read_cluster_key(file)
    except FileNotFoundError:
        return
    if public_key_hash(derived(key).authority_pem) != token.authority_hash:
        raise Conflict(
            f"{file} is the key of another cluster than the join token is of.",
            hint=f"If that key is not needed here any more, move {file} away and start again.",
        )


async def _ask_until_told(
    token: JoinToken,
    request: JoinRequest,
    *,
    addresses: "dict[Address, None]",
    local_address: tuple[str, int] | None,
    back: ComingBack | None,
    pause: float,
) -> Admitted:
    while True:
        strangers: list[AnotherCluster] = []
        for address in addresses:
            try:
                answer = await ask_to_join(address, token, request, local_address=local_address)
            except AnotherCluster as stranger:
                strangers.append(stranger)
                continue
            except (PeerUnreachable, MalformedFrame, TimeoutError) as error:
                logger.info("no answer about joining address=%s reason=%s", address, error)
                continue
            if isinstance(answer, Admitted):
                return answer
            await raise_what_is_final(answer, back)
            logger.info("not admitted yet address=%s reason=%s", address, answer.message)
        if len(strangers) == len(addresses):
            raise strangers[0]
        await asyncio.sleep(pause)
        pause = min(2 * pause, LAST_PAUSE_SECONDS)


async def ask_to_join(
    address: Address,
    token: JoinToken,
    request: JoinRequest,
    *,
    local_address: tuple[str, int] | None = None,
) -> Admitted | Rejected:
    """Ask one member. Raises `PeerUnreachable`, `AnotherCluster`, `MalformedFrame` or `TimeoutError`."""
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    connection = FrameConnection(frames.put_nowait)
    connection.on_closed(lambda was_reset: frames.put_nowait(b""))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await _dial(lambda: connection, address, local_address)
            authority_pem = await _next(frames, address)
            _check_authority(connection, authority_pem, token, address)
            connection.write_frame(encode_request(request))
            return decode_answer(await _next(frames, address))
    finally:
        connection.abort()


async def _dial(
    make: Callable[[], FrameConnection], address: Address, local_address: tuple[str, int] | None
) -> None:
    try:
        await asyncio.get_running_loop().create_connection(
            make,
            address.host,
            address.port,
            ssl=join_client_context(),
            server_hostname=PEER_NAME,
            local_addr=local_address,
        )
    except (OSError, ssl.SSLError) as error:
        raise PeerUnreachable(f"{address} was not reached: {error}", was_asked=False) from error


async def _next(frames: "asyncio.Queue[bytes]", address: Address) -> bytes:
    frame = await frames.get()
    if not frame:
        raise PeerUnreachable(f"{address} closed the connection")
    return frame


def _check_authority(
    connection: FrameConnection, authority_pem: bytes, token: JoinToken, address: Address
) -> None:
    """That the other end holds a key which the token's authority has signed. Before this, nothing is said."""
    shown = connection.peer_certificate() or b""
    try:
        pem = authority_pem.decode("ascii")
        is_ours = public_key_hash(pem) == token.authority_hash and is_issued_by_peer_authority(shown, pem)
    except ValueError as error:
        raise AnotherCluster(address) from error
    if not is_ours:
        raise AnotherCluster(address)
