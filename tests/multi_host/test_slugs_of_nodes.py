"""Slugs on the disks of real nodes: one file for the same bytes, two copies, and two again when a node died."""

import hashlib
from pathlib import Path

import pytest

from pinode.cli.demo_nodes import DemoNode
from pinode.cli.demo_source import served
from pinode.cli.target import app_path
from pinode.slugs.copy_care import LOOK_SECONDS, LOOKS
from tests.multi_host.three_nodes import TINY_APP, Nodes, make_repository, running_nodes

pytestmark = [pytest.mark.multi_host, pytest.mark.timeout(600)]


def slugs_on(node: DemoNode) -> dict[str, bool]:
    """By digest, whether the file has it."""
    files = (node.folder / "data/slugs").glob("*.slug")
    return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() == path.stem for path in files}


@pytest.mark.soak  # for a node that dies may only restart: its slugs are copied after two minutes
def test_two_apps_of_one_source_share_a_slug_and_its_second_copy_is_made_again_when_a_node_died(
    tmp_path: Path,
) -> None:
    make_repository(tmp_path / "tiny", TINY_APP)
    with served(tmp_path) as base, running_nodes() as nodes:
        for app in ("blog", "shop"):
            nodes.deploy(app, f"{base}/tiny")
        digest = slug_of(nodes, "blog")
        assert slug_of(nodes, "shop") == digest
        nodes.until(lambda: len(holders(nodes, digest)) >= 2, seconds=20, what="two nodes have the slug")
        assert all(list(slugs_on(node)) in ([digest], []) for node in nodes.nodes), "and no other"
        if len(holders(nodes, digest)) == 3:  # the third runs a dyno of it; as a disk loses it
            (holders(nodes, digest)[2].folder / "data/slugs" / f"{digest}.slug").unlink()

        nodes.kill(holders(nodes, digest)[0])

        nodes.until(
            lambda: len(holders(nodes, digest)) == 2,
            seconds=(LOOKS + 3) * LOOK_SECONDS,
            what="two of the nodes that live have the slug",
        )


def slug_of(nodes: Nodes, app: str) -> str:
    return str(nodes.alive[0].client().items(app_path(app, "releases"))[0]["slug"])


def holders(nodes: Nodes, digest: str) -> list[DemoNode]:
    """Of the living, those that have it whole."""
    return [node for node in nodes.alive if slugs_on(node).get(digest)]
