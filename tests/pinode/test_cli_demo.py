"""What the demo is made of: nodes that are in nobody's way, and an example served from a real git repository."""

import socket
import subprocess
from pathlib import Path

import pytest

from pinode.cli.demo_nodes import LISTENERS, free_ports, make_nodes
from pinode.cli.demo_source import EXAMPLE, make_repository, served
from pinode.cli.invocation import Failure
from pinode.peers.cluster_key import read_cluster_key
from pinode.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]


def test_the_nodes_share_a_key_and_find_each_other_without_the_network(tmp_path: Path) -> None:
    nodes = make_nodes(tmp_path, 3, sandboxed=True)

    settings = [load_settings(node.folder / "cluster.toml", {}) for node in nodes]

    assert [one.node.advertise for one in settings] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    assert {one.cluster.discovery for one in settings} == {"off"}
    assert {one.cluster.expect for one in settings} == {3}
    assert [address.host for address in settings[0].cluster.join] == ["127.0.0.2", "127.0.0.3"]
    assert len({read_cluster_key(one.cluster.key_file).secret for one in settings}) == 1
    assert all(one.sandbox.required for one in settings)


def test_the_nodes_ports_are_neither_the_defaults_nor_each_others(tmp_path: Path) -> None:
    settings = [
        load_settings(node.folder / "cluster.toml", {}) for node in make_nodes(tmp_path, 3, sandboxed=False)
    ]

    defaults = Settings().listen
    taken = {getattr(defaults, name).port for name in LISTENERS}
    for one in settings:
        for name in LISTENERS:
            address = getattr(one.listen, name)
            assert address.host == one.node.advertise
            assert address.port not in taken
    dynos = [port for one in settings for port in one.listen.dyno_ports]
    assert len(dynos) == len(set(dynos)), "dynos of all nodes share one machine"
    assert not set(dynos) & {port for one in settings for port in one.listen.app_ports}


def test_ports_that_somebody_listens_on_are_passed_over() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        start = min(taken, 31_000) - 3

        first = free_ports(["127.0.0.1", "127.0.0.2"], 6, start=start)

    assert taken not in range(first, first + 6)


def test_a_folder_that_was_kept_is_used_as_it_is(tmp_path: Path) -> None:
    first = make_nodes(tmp_path, 3, sandboxed=True)
    key = (first[0].folder / "cluster.key").read_bytes()

    again = make_nodes(tmp_path, 3, sandboxed=True)

    assert [
        (node.name, node.host, node.folder, node.ports, node.app_ports, node.dyno_ports) for node in first
    ] == [(node.name, node.host, node.folder, node.ports, node.app_ports, node.dyno_ports) for node in again]
    assert (again[0].folder / "cluster.key").read_bytes() == key
    with pytest.raises(Failure, match="has 3 nodes, not 2"):
        make_nodes(tmp_path, 2, sandboxed=True)


def test_the_example_is_the_one_of_the_examples_folder_and_is_cloned_over_http(tmp_path: Path) -> None:
    make_repository(tmp_path / "git" / "hello-flask")

    with served(tmp_path / "git") as base:
        subprocess.run(
            ["git", "clone", "-q", "--depth", "1", f"{base}/hello-flask", str(tmp_path / "clone")],
            check=True,
            timeout=30,
        )
        refused = subprocess.run(
            ["git", "clone", "-q", f"{base}/../cluster.key", str(tmp_path / "no")], timeout=30
        )

    source = ROOT / "examples" / "hello-flask"
    assert EXAMPLE.resolve() == source
    for name in ("app.py", "requirements.txt", "Procfile"):
        assert (tmp_path / "clone" / name).read_bytes() == (source / name).read_bytes()
    assert refused.returncode != 0
