"""The nodes as agreed, changed by commands in log order."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, assert_never, get_args, get_type_hints

from pinode.apps.carried import Reread, rows_of
from pinode.apps.records import pack, to_plain
from pinode.nodes.commands import (
    AddNode,
    AdoptKey,
    AdvanceKeyRotation,
    ConfirmKey,
    CreateJoinToken,
    NodeCommand,
    OfferKey,
    RemoveNode,
    RevokeJoinTokens,
    RotateKey,
    SetAvailability,
)
from pinode.nodes.errors import (
    InvalidNode,
    JoinTokenRefused,
    KeyRotationUnderWay,
    LastNode,
    NodeNameTaken,
    NodeTooOld,
    NodeUnknown,
    NodeWasRemoved,
    TooManyJoinTokens,
    TooManyNodes,
)
from pinode.nodes.key_rotation import KeyRotation, adopted, advanced, confirmed, offered, without_node
from pinode.nodes.node import IssuedToken, RegisteredNode, RemovedNode
from replicated_queue.parts import Row

NODES = 256
REMOVED = 4_096  # the oldest is forgotten beyond: ids are hashes of keys, and none comes back by chance
JOIN_TOKENS = 16
ROTATIONS = 64  # of the cluster key that are remembered
LIFETIME_MS_MAX = 30 * 24 * 3600 * 1000
_ID = re.compile(r"[0-9a-f]{16}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9_.:-]{1,253}")


class NodeTable:
    """Registered nodes, removed ones, and join tokens. A name and an id belong to one registered node."""

    # Tables are declared here: a snapshot carries each that is, and refuses to forget one that is not.
    _nodes: dict[str, RegisteredNode]  # by id
    _removed: dict[str, RemovedNode]  # by id; oldest first
    _tokens: dict[bytes, IssuedToken]  # by hash; oldest first
    _rotations: dict[int, KeyRotation]  # by generation; oldest first, all but the last over

    def __init__(self, founders: Iterable[RegisteredNode] = ()) -> None:
        self._nodes = {node.node_id: node for node in founders}
        self._removed = {}
        self._tokens = {}
        self._rotations = {}

    def apply(self, command: NodeCommand, *, now: int) -> int | None:
        """Run one committed command. Raises a `NodeError` when it is refused; the state is then as before."""
        match command:
            case AddNode():
                self._add(command, now=now)
            case RemoveNode():
                self._remove(command, now=now)
            case SetAvailability():
                self._set_availability(command)
            case CreateJoinToken():
                self._create_token(command, now=now)
            case RevokeJoinTokens():
                return self._revoke_tokens(now)
            case RotateKey():
                return self._begin_rotation(command, now=now)
            case OfferKey():
                self._change_rotation(
                    lambda rotation: offered(rotation, command, registered=tuple(sorted(self._nodes)))
                )
            case ConfirmKey():
                if command.node_id in self._nodes:
                    self._change_rotation(lambda rotation: confirmed(rotation, command))
            case AdvanceKeyRotation():
                self._change_rotation(lambda rotation: advanced(rotation, command))
            case AdoptKey():
                self._adopt_key(command, now=now)
            case _:
                assert_never(command)
        return None

    def all(self) -> tuple[RegisteredNode, ...]:
        """All registered nodes, by id."""
        return tuple(self._nodes[node_id] for node_id in sorted(self._nodes))

    def get(self, node_id: str) -> RegisteredNode | None:
        """The node of this id, if it is registered."""
        return self._nodes.get(node_id)

    def staying(self) -> tuple[RegisteredNode, ...]:
        """Those that are not leaving, by id."""
        return tuple(node for node in self.all() if node.availability != "leaving")

    def removed(self, node_id: str) -> RemovedNode | None:
        """What is remembered of a node that was removed."""
        return self._removed.get(node_id)

    @property
    def removals(self) -> int:
        """How many removed nodes are remembered."""
        return len(self._removed)

    @property
    def feature_level(self) -> int:
        """The lowest that all registered nodes support. It never falls: who supports less is refused."""
        return min((node.feature_level for node in self._nodes.values()), default=1)

    def named(self, name: str) -> RegisteredNode | None:
        """The node of this name."""
        return next((node for node in self._nodes.values() if node.name == name), None)

    def tokens(self, now: int) -> tuple[IssuedToken, ...]:
        """Tokens that are good at cluster time `now`, oldest first."""
        return tuple(token for token in self._tokens.values() if now < token.expires_at_ms)

    def is_good(self, token_hash: bytes, now: int) -> bool:
        """Whether a token lets nodes join at cluster time `now`."""
        token = self._tokens.get(token_hash)
        return token is not None and now < token.expires_at_ms

    @property
    def key_rotation(self) -> KeyRotation | None:
        """The newest rotation of the cluster key; None when there was none."""
        return self._rotations[max(self._rotations)] if self._rotations else None

    def was_rotated_away(self, mark: str) -> bool:
        """Whether this is the mark of a cluster key that opens nothing any more."""
        told = [one for one in self._rotations.values() if one.is_over and mark in (one.mark, one.previous)]
        return bool(told) and told[-1].previous == mark  # a recovery may have gone back to it

    @property
    def _is_rotating(self) -> bool:
        return self.key_rotation is not None and not self.key_rotation.is_over

    def __len__(self) -> int:
        return len(self._nodes)

    def digest(self) -> bytes:
        """Hash of all tables."""
        hashed = hashlib.sha256()
        for node in self.all():
            hashed.update(pack(to_plain(node)))
        for record in (*self._removed.values(), *self._tokens.values(), *self._rotations.values()):
            hashed.update(pack(to_plain(record)))
        return hashed.digest()

    def early_rows(self) -> Iterator[Row]:
        """`Part` of a snapshot: records are never changed in place, so all of them come late."""
        return iter(())

    def rows(self) -> Iterator[Row]:
        """See `Part`."""
        tables = {name: value for name, value in vars(self).items() if isinstance(value, dict)}
        assert set(tables) == set(_KINDS), f"declare {set(tables) ^ set(_KINDS)} at the head of the class"
        return rows_of({name: list(table.items()) for name, table in tables.items()})

    def rebuild(self) -> Reread:
        """See `Part`."""
        return Reread(self, _KINDS)

    def _add(self, command: AddNode, *, now: int) -> None:
        if command.token_hash is not None and not self.is_good(command.token_hash, now):
            raise JoinTokenRefused
        _check(command)
        removed = self._removed.get(command.node_id)
        if removed is not None:
            raise NodeWasRemoved(node_id=removed.node_id, name=removed.name)
        if command.feature_level < self.feature_level:
            raise NodeTooOld(name=command.name, level=command.feature_level, needed=self.feature_level)
        before = self._nodes.get(command.node_id)
        replaced = self._nodes.get(command.replaces or "")
        holder = self.named(command.name)
        if holder not in (None, before, replaced):
            raise NodeNameTaken(
                name=holder.name, other=holder.node_id, where=f"{holder.host}:{holder.peer_port}"
            )
        if before is None and self._is_rotating:
            raise KeyRotationUnderWay  # it may be of who was removed, and be let in to get the new key
        if before is None and replaced is None and len(self._nodes) >= NODES:
            raise TooManyNodes(bound=NODES)
        if replaced is not None and replaced is not before:
            self._forget(replaced, by=f"its successor {command.node_id}", now=now)
        self._nodes[command.node_id] = RegisteredNode(
            node_id=command.node_id,
            name=command.name,
            host=command.host,
            peer_port=command.peer_port,
            joined_at_ms=before.joined_at_ms if before else now,
            availability=before.availability if before else "active",
            feature_level=command.feature_level,
        )

    def _remove(self, command: RemoveNode, *, now: int) -> None:
        node = self._nodes.get(command.node_id)
        if node is None:
            raise NodeUnknown(node_id=command.node_id)
        if len(self._nodes) == 1:
            raise LastNode(name=node.name)
        self._forget(node, by=command.by, now=now)

    def _set_availability(self, command: SetAvailability) -> None:
        node = self._nodes.get(command.node_id)
        if node is None:
            raise NodeUnknown(node_id=command.node_id)
        others = [one for one in self.staying() if one.node_id != node.node_id]
        if command.availability == "leaving" and not others:
            raise LastNode(name=node.name)
        self._nodes[node.node_id] = replace(node, availability=command.availability)

    def _forget(self, node: RegisteredNode, *, by: str, now: int) -> None:
        del self._nodes[node.node_id]
        while len(self._removed) >= REMOVED:
            del self._removed[next(iter(self._removed))]
        self._removed[node.node_id] = RemovedNode(
            node_id=node.node_id, name=node.name, by=by, removed_at_ms=now
        )
        self._change_rotation(lambda rotation: without_node(rotation, node.node_id))

    def _create_token(self, command: CreateJoinToken, *, now: int) -> None:
        if self._is_rotating:
            raise KeyRotationUnderWay
        if len(command.token_hash) != hashlib.sha256().digest_size:
            raise InvalidNode(what="the join token's hash", rule="must be a sha256")
        if not 0 < command.lifetime_ms <= LIFETIME_MS_MAX:
            raise InvalidNode(what="the lifetime of a join token", rule="must be above 0 and at most 30 days")
        # What ran out is forgotten where a new one begins, so that nothing periodic enters the log.
        good = {token.token_hash: token for token in self.tokens(now)}
        if len(good) >= JOIN_TOKENS:
            raise TooManyJoinTokens(bound=JOIN_TOKENS)
        good[command.token_hash] = IssuedToken(
            token_hash=command.token_hash, by=command.by, expires_at_ms=now + command.lifetime_ms
        )
        self._tokens = good

    def _begin_rotation(self, command: RotateKey, *, now: int) -> int:
        if self._is_rotating:
            raise KeyRotationUnderWay
        generation = 1 + (self.key_rotation.generation if self.key_rotation else 0)
        self._note_rotation(KeyRotation(generation=generation, by=command.by, began_at_ms=now))
        self._tokens = {}  # they name the old key's authority, for which its holders can pass
        return generation

    def _adopt_key(self, command: AdoptKey, *, now: int) -> None:
        rotation = adopted(self.key_rotation, command, now=now)
        if rotation is None or len(self._nodes) > 1:
            return
        if self.key_rotation is not None and not self.key_rotation.is_over:
            del self._rotations[self.key_rotation.generation]
        self._note_rotation(rotation)

    def _note_rotation(self, rotation: KeyRotation) -> None:
        kept = dict(list(self._rotations.items())[-(ROTATIONS - 1) :])
        self._rotations = kept | {rotation.generation: rotation}

    def _change_rotation(self, change: Callable[[KeyRotation], KeyRotation]) -> None:
        if self.key_rotation is not None:
            self._rotations[self.key_rotation.generation] = change(self.key_rotation)

    def _revoke_tokens(self, now: int) -> int:
        good = len(self.tokens(now))
        self._tokens = {}
        return good


_KINDS: dict[str, type] = {name: get_args(hint)[1] for name, hint in get_type_hints(NodeTable).items()}


def _check(command: AddNode) -> None:
    wrong: Any = None
    if not _ID.fullmatch(command.node_id):
        wrong = f"{command.node_id[:100]!r}", "is no node id: 16 hexadecimal digits"
    elif not _NAME.fullmatch(command.name):
        wrong = f"{command.name[:100]!r}", "is no name for a node: lower-case letters, digits and '-'"
    elif not _HOST.fullmatch(command.host):
        wrong = f"{command.host[:100]!r}", "is no address that others can dial"
    elif not 0 < command.peer_port < 65536:
        wrong = f"{command.peer_port}", "is no port"
    elif command.feature_level < 1:
        wrong = f"{command.feature_level}", "is no feature level"
    if wrong is not None:
        raise InvalidNode(what=wrong[0], rule=wrong[1])
