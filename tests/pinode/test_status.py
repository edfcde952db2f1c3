"""The status document: the shape that scripts rely on, and the warnings."""

import json

from pinode.apps.observed import NodeStats
from pinode.nodes.commands import SetAvailability
from pinode.operations.status import status
from tests.pinode.fake_cluster import FakeCluster

NOW = 1_700_000_600.0


def shown(cluster: FakeCluster) -> dict:
    return status(cluster, wall_clock=NOW)


def test_the_document_has_the_agreed_names() -> None:
    document = shown(FakeCluster())

    assert set(document) == {"cluster", "nodes", "queue", "warnings"}
    assert set(document["cluster"]) == {
        "name", "id", "leader", "term", "commit_index", "has_quorum", "view_age_seconds",
    }  # fmt: skip
    assert set(document["nodes"][0]) == {
        "name", "id", "address", "web", "state", "role", "incarnation", "version", "arch", "python", "interpreters",
        "uptime_seconds",
        "roles", "cordoned", "availability", "dynos", "builds", "stats",
    }  # fmt: skip
    assert set(document["nodes"][0]["stats"]) == {
        "cpu_percent", "load_1m", "memory_percent", "memory_bytes", "disk_percent", "disk_free_bytes",
        "net_tx_bytes_per_s", "net_rx_bytes_per_s", "temperature_celsius", "throttled", "disk_written_bytes_per_hour",
        "loop_lag_ms", "age_seconds",
    }  # fmt: skip
    json.dumps(document)


def test_a_node_is_shown_with_its_addresses_role_and_uptime() -> None:
    node = shown(FakeCluster())["nodes"][0]

    assert (node["name"], node["role"], node["state"]) == ("pi1", "leader", "alive")
    assert (node["address"], node["web"]) == ("192.0.2.1:7300", "https://192.0.2.1:8000")
    assert node["uptime_seconds"] == 600.0


def test_sick_nodes_stand_first() -> None:
    cluster = FakeCluster()
    cluster.change_node("pi3", state="dead")
    cluster.change_node("pi2", state="suspect")

    assert [node["name"] for node in shown(cluster)["nodes"]] == ["pi3", "pi2", "pi1"]


def test_the_queue_is_counted_by_topic_and_state() -> None:
    cluster = FakeCluster()
    cluster.put_job("mail")
    cluster.put_job("pinode.builds", platform=True)

    assert shown(cluster)["queue"] == {
        "mail": {"ready": 1, "delayed": 0, "leased": 0, "buried": 0},
        "pinode.builds": {"ready": 1, "delayed": 0, "leased": 0, "buried": 0},
    }
    assert list(status(cluster, wall_clock=NOW, platform=False)["queue"]) == ["mail"]


def test_a_cluster_that_is_well_has_no_warnings() -> None:
    assert shown(FakeCluster())["warnings"] == []


def test_a_lost_quorum_is_said_first_with_whom_to_bring_back() -> None:
    cluster = FakeCluster()
    cluster.has_quorum, cluster.leader_id = False, None
    cluster.change_node("pi2", state="dead", stats_age_seconds=40.0)
    cluster.change_node("pi3", state="dead", stats_age_seconds=None)

    document = shown(cluster)

    assert document["cluster"]["leader"] is None
    assert document["warnings"] == [
        "no quorum: nothing can be changed now, what is shown may be old, running apps go on. "
        "Bring back pi2, pi3.",
        "pi2 is dead (last heard 40 s ago). Check its power and network; "
        "its dynos cannot move without a quorum.",
        "pi3 is dead (not heard since this node started). Check its power and network; "
        "its dynos cannot move without a quorum.",
    ]


def test_each_problem_of_a_node_is_said_once_with_its_numbers() -> None:
    cluster = FakeCluster()
    stats = NodeStats(
        disk_percent=96.4, disk_free_bytes=2**29, memory_percent=97.0, throttled=True, temperature_celsius=82.4,
        loop_lag_ms=1500.0,
    )  # fmt: skip
    cluster.change_node("pi2", stats=stats, warnings=("dynos run without a sandbox",))

    warnings = shown(cluster)["warnings"]

    assert [warning.partition(".")[0] for warning in warnings] == [
        "pi2: dynos run without a sandbox",
        "pi2: the disk is 96 % full, 0",
        "pi2: the memory is 97 % full",
        "pi2 is throttled: its power supply is too weak, or it is too hot",
        "pi2 is hot: 82 °C",
        "pi2 is overloaded: it answers 1",
    ]


def test_numbers_of_a_dead_node_are_no_warnings() -> None:
    cluster = FakeCluster()
    cluster.change_node("pi2", state="dead", stats=NodeStats(disk_percent=99.0))

    assert len(shown(cluster)["warnings"]) == 1


def test_one_and_two_nodes_are_told_what_they_lack() -> None:
    assert "one node alone" in shown(FakeCluster(nodes=["pi1"]))["warnings"][0]
    pair = FakeCluster(nodes=["pi1", "pi2"])
    pair.change_node("pi2", counts_as="learner")
    assert shown(pair)["warnings"][0].startswith("two nodes: when pi1 is off, nothing can be changed.")


def test_a_node_that_only_learns_is_shown_as_a_learner() -> None:
    cluster = FakeCluster(nodes=["pi1", "pi2", "pi3", "pi4"])
    cluster.change_node("pi4", counts_as="learner")

    assert {node["name"]: node["role"] for node in shown(cluster)["nodes"]}["pi4"] == "learner"


def test_a_stopped_node_is_still_a_member_and_said_to_be_off() -> None:
    cluster = FakeCluster(nodes=["pi1", "pi2", "pi3"])
    cluster.change_node("pi3", state="left")

    assert shown(cluster)["warnings"] == ["pi3 was stopped. `pinode start` on it brings it back."]


def test_a_node_that_takes_no_work_is_said_with_how_it_takes_some_again() -> None:
    cluster = FakeCluster()
    cluster.apply(SetAvailability(node_id=f"{2:016x}", availability="drained", by="ada"))
    cluster.apply(SetAvailability(node_id=f"{3:016x}", availability="leaving", by="ada"))

    document = shown(cluster)

    assert document["warnings"] == [
        "pi2 is drained: it takes no work until `pinode node:uncordon pi2`.",
        "pi3 is leaving the cluster; `pinode leave` on it shows how far that is.",
    ]
    assert [node["cordoned"] for node in document["nodes"]] == [False, True, True]


def test_a_dead_node_is_said_with_how_it_is_struck_off() -> None:
    cluster = FakeCluster()
    cluster.change_node("pi3", state="dead")

    assert "`pinode node:remove pi3 --confirm pi3`" in shown(cluster)["warnings"][0]
