"""Values sealed at rest, and a rotation of the cluster key: what a kept old key opens of a later backup."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from pinode.apps.commands import (
    CompleteBuild,
    CreateApp,
    CreateHook,
    RegistryCommand,
    RequestBuild,
    SetConfig,
    SetDeployKey,
)
from pinode.apps.sealed_values import carries_sealed, with_sealed
from pinode.cluster_state import ClusterState
from pinode.errors import NoLeader, TimedOut
from pinode.live_cluster import CONFIG_PURPOSE
from pinode.nodes.commands import AdvanceKeyRotation, OfferKey, RotateKey
from pinode.peers.cluster_key import ClusterKey, read_cluster_key, write_cluster_key
from pinode.peers.derived_keys import derived
from pinode.peers.held_keys import HeldKeys
from pinode.peers.key_store import KeyStore
from pinode.peers.keys import ClusterSecrets, SealBroken
from replicated_queue.interfaces import CUT
from tests.pinode.upgraded_nodes import CLUSTER_KEY, AgingNode, AgingNodes
from tests.replicated_queue.test_snapshots_of_state import finish

NEW_KEY = ClusterKey(b"n" * 32)
INSTALLED = HeldKeys(in_use=CLUSTER_KEY).with_successor(NEW_KEY, entitled=frozenset())
ROTATED = INSTALLED.using_successor(generation=1).alone()


async def rotate(nodes: AgingNodes, *, but: AgingNode | None = None) -> None:
    """All of it, at all nodes `but` one that hears nothing of it."""
    leader = await nodes.leader()
    old, new = derived(CLUSTER_KEY).mark, derived(NEW_KEY).mark
    await leader.cluster.execute(RotateKey(by="ada"))
    await leader.cluster.execute(
        OfferKey(generation=1, mark=new, previous=old, node_id=leader.cluster.node_id)
    )
    for node in nodes.nodes.values():
        if node is not but:
            node.secrets.hold(ROTATED)
    await leader.cluster.execute(AdvanceKeyRotation(generation=1, mark=new, stage="use"))
    await leader.cluster.execute(AdvanceKeyRotation(generation=1, mark=new, stage="done"))


async def set_config(node: AgingNode, value: str, *, timeout_seconds: float = 10) -> None:
    values = {"TOKEN": node.cluster.seal(value)}
    await node.cluster.execute(SetConfig(app="blog", set_values=values), timeout_seconds=timeout_seconds)


def token_in(state: ClusterState) -> bytes:
    app = state.registry.app("blog")
    assert app is not None
    return app.config.values["TOKEN"]


def opened_by(held: HeldKeys, sealed: bytes) -> bytes:
    return ClusterSecrets(held).open(sealed, purpose=CONFIG_PURPOSE)


async def test_a_removed_nodes_card_and_a_later_backup_open_nothing_that_was_set_after_the_rotation(
    tmp_path: Path,
) -> None:
    """The card as it was in the midst of the rotation before, with all that lies beside its key."""
    card, backup = tmp_path / "card", ClusterState()
    card.mkdir()
    write_cluster_key(card / "cluster.key", ClusterKey(b"first" + bytes(27)))
    kept = HeldKeys(in_use=read_cluster_key(card / "cluster.key"))
    kept = kept.with_successor(CLUSTER_KEY, entitled=frozenset()).using_successor(generation=1)
    KeyStore(card / "cluster.key", card).keep(kept)
    async with AgingNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        await leader.cluster.execute(CreateApp(name="blog", owner="ada"))
        await set_config(leader, "before")
        assert opened_by(ROTATED, token_in(leader.state)) == b"before", "whoever stays reads on"
        await rotate(nodes)
        await set_config(leader, "after")
        finish(backup.restore([chunk for chunk in leader.state.snapshot() if chunk != CUT]))

    stolen = KeyStore(card / "cluster.key", card).load(read_cluster_key(card / "cluster.key"))
    assert CLUSTER_KEY in stolen.all
    with pytest.raises(SealBroken):
        opened_by(stolen, token_in(backup))
    assert opened_by(ROTATED, token_in(backup)) == b"after"


async def test_a_node_that_was_cut_off_meanwhile_lets_no_value_into_the_log_by_the_old_key(
    tmp_path: Path,
) -> None:
    async with AgingNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        late = next(node for node in nodes.nodes.values() if node is not leader)
        await leader.cluster.execute(CreateApp(name="blog", owner="ada"))
        await rotate(nodes, but=late)

        setting = asyncio.create_task(set_config(late, "after"))
        with pytest.raises(TimedOut, match="has no new one yet"):
            await set_config(late, "too early", timeout_seconds=0.2)
        assert not setting.done()
        late.secrets.hold(ROTATED)
        await setting

        assert opened_by(ROTATED, token_in(leader.state)) == b"after"
        with pytest.raises(SealBroken):
            opened_by(HeldKeys(in_use=CLUSTER_KEY), token_in(leader.state))


async def test_a_value_sealed_before_the_rotation_and_agreed_on_after_it_is_sealed_anew(
    tmp_path: Path,
) -> None:
    """As of a build that was under way all the time, with a made-up secret in its `app.json`."""
    async with AgingNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        await leader.cluster.execute(CreateApp(name="blog", owner="ada"))
        sealed = leader.cluster.seal("made up")
        await rotate(nodes)

        await leader.cluster.execute(SetConfig(app="blog", set_values={"TOKEN": sealed}))

        assert opened_by(ROTATED, token_in(leader.state)) == b"made up"
        with pytest.raises(SealBroken):
            opened_by(HeldKeys(in_use=CLUSTER_KEY), token_in(leader.state))


async def test_without_a_majority_a_value_is_refused_and_not_kept_for_later(tmp_path: Path) -> None:
    async with AgingNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        await leader.cluster.execute(CreateApp(name="blog", owner="ada"))
        for number in [one for one, node in nodes.nodes.items() if node is not leader]:
            await nodes.stop(number)

        with pytest.raises(NoLeader, match="nothing was changed"):
            await set_config(leader, "alone", timeout_seconds=1.5)


SAMPLES = (
    CompleteBuild(
        build_id=1,
        token=1,
        commit="c",
        slug_digest="d",
        slug_bytes=1,
        arch="a",
        python=None,
        holders=(),
        process_types={},
        first_config={"A": b"sealed"},
    ),
    RequestBuild(
        app="blog",
        git_url="https://x",
        ref=None,
        subdirectory=None,
        actor="ada",
        sealed_credentials=b"sealed",
    ),
    SetConfig(app="blog", set_values={"A": b"sealed", "B": b"sealed"}),
    CreateHook(app="blog", id="1", sealed_secret=b"sealed", branch=None, actor="ada"),
    SetDeployKey(app="blog", actor="ada", sealed_key=b"sealed", public_key="ssh"),
)


@pytest.mark.parametrize("command", SAMPLES, ids=lambda command: type(command).__name__)
def test_each_sealed_value_of_a_command_is_found_and_can_be_another(command: Any) -> None:
    changed = with_sealed(command, lambda sealed: b"new " + sealed)

    assert carries_sealed(command) and b"new sealed" in repr_of(changed)
    assert repr_of(changed).replace(b"new ", b"") == repr_of(command)


def test_a_command_without_any_stays_as_it_is() -> None:
    for command in (
        SetConfig(app="blog", unset=("A",)),
        SetDeployKey(app="blog", actor="ada"),
        RotateKey(by="ada"),
    ):
        assert not carries_sealed(command)
        assert with_sealed(command, lambda sealed: b"never") == command


def test_no_command_carries_sealed_values_where_nobody_looks_for_them() -> None:
    """A new field of bytes in a command of apps: sealed, or not? It is entered here, and there."""
    found = {
        (kind, name)
        for kind in get_args(RegistryCommand)
        for name, hint in get_type_hints(kind).items()
        if bytes in (hint, *get_args(hint))
    }

    assert found == {
        (SetConfig, "set_values"),
        (CompleteBuild, "first_config"),
        (RequestBuild, "sealed_credentials"),
        (CreateHook, "sealed_secret"),
        (SetDeployKey, "sealed_key"),
    }


def test_a_value_of_the_key_in_use_is_not_sealed_twice() -> None:
    secrets, nonce = ClusterSecrets(ROTATED), os.urandom(12)
    old = ClusterSecrets.derived_from(CLUSTER_KEY).seal(b"value", purpose=b"p", nonce=nonce)

    new = secrets.sealed_anew(old, purpose=b"p", nonce=os.urandom(12))

    assert new != old and secrets.open(new, purpose=b"p") == b"value"
    assert secrets.sealed_anew(new, purpose=b"p", nonce=os.urandom(12)) == new
    with pytest.raises(SealBroken):
        secrets.sealed_anew(old, purpose=b"another", nonce=os.urandom(12))


def repr_of(command: Any) -> bytes:
    """With what `repr` hides."""
    values = {name: getattr(command, name) for name in command.__dataclass_fields__}
    plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}
    return repr(plain).encode()
