"""Which names of apps are announced on the network, and what is done when that changes."""

from dataclasses import replace

import pytest

from pinode.apps.commands import CreateApp, MakeReleaseLive, RenameApp
from pinode.lan_names.name_book import AGAIN_SECONDS, ASK_AGAIN_SECONDS, NameBook, Steps
from pinode.lan_names.wanted import (
    ADDRESS_TTL_SECONDS,
    MAX_ADDRESSES,
    LanName,
    is_announcing,
    is_of_this_cluster,
    wanted_names,
)
from pinode.settings import Settings
from tests.pinode.fake_cluster import FakeCluster, node_view

BLOG = LanName("blog", ("192.0.2.1", "192.0.2.2"), 8080)
WIKI = LanName("wiki", ("192.0.2.1", "192.0.2.2"), 8080)
MOVED = LanName("blog", ("192.0.2.1",), 8080)


def wanted(*names: LanName) -> dict[str, LanName]:
    return {name.app: name for name in names}


def holding(*names: LanName, now: float = 0.0) -> NameBook:
    """A book whose names were asked for and told as often as they are."""
    book = NameBook()
    book.steps(wanted(*names), now=now)
    book.conclude([name.app for name in names], [], now=now)
    at = now
    for pause in (0.0, *AGAIN_SECONDS):
        at += pause
        assert book.steps(wanted(*names), now=at).announce == names
    return book


def served(cluster: FakeCluster, app: str, **process_types: str) -> None:
    """An app whose first release is live."""
    cluster.apply(CreateApp(name=app, owner="ada"))
    version = cluster.complete_build(cluster.start_build(app), **process_types)
    cluster.apply(MakeReleaseLive(app=app, version=version))


def wanted_of(cluster: FakeCluster) -> dict[str, LanName]:
    registry, nodes = cluster.state.registry, list(cluster.views.values())
    return wanted_names(registry, nodes, own_id=cluster.node_id, port=8080)


# --- what is wanted


def test_an_app_with_a_live_web_process_has_the_addresses_of_all_nodes_that_are_not_gone() -> None:
    cluster = FakeCluster(nodes=("pi1", "pi2", "pi3", "pi4"))
    served(cluster, "blog")
    cluster.apply(CreateApp(name="empty", owner="ada"))
    third, fourth = list(cluster.views)[2:]
    cluster.views[third] = replace(cluster.views[third], state="dead")
    cluster.views[fourth] = replace(cluster.views[fourth], state="suspect")

    assert wanted_of(cluster) == {"blog": LanName("blog", ("192.0.2.1", "192.0.2.2", "192.0.2.4"), 8080)}


def test_the_leader_is_reachable_whatever_the_others_say_of_it() -> None:
    cluster = FakeCluster(nodes=("pi1",))
    served(cluster, "blog")
    cluster.views[cluster.node_id] = replace(cluster.views[cluster.node_id], state="dead")

    assert wanted_of(cluster)["blog"].addresses == ("192.0.2.1",)


def test_an_app_without_a_web_process_has_no_name() -> None:
    cluster = FakeCluster()
    served(cluster, "blog", worker="python work.py")

    assert wanted_of(cluster) == {}


def test_a_renamed_app_has_its_new_name_alone() -> None:
    cluster = FakeCluster()
    served(cluster, "blog")
    cluster.apply(RenameApp(app="blog", name="news", actor="ada"))

    assert set(wanted_of(cluster)) == {"news"}


def test_addresses_are_bounded_in_order_and_of_both_families() -> None:
    hosts = ["fd77::2", "10.0.0.10", "10.0.0.9", "pi.example", *(f"10.0.1.{number}" for number in range(40))]
    cluster = FakeCluster(nodes=[f"pi{number}" for number in range(len(hosts))])
    served(cluster, "blog")
    for node_id, host in zip(cluster.views, hosts, strict=True):
        cluster.views[node_id] = replace(cluster.views[node_id], host=host)

    few = wanted_names(
        cluster.state.registry, list(cluster.views.values())[:4], own_id=cluster.node_id, port=8080
    )

    assert few["blog"].addresses == ("10.0.0.9", "10.0.0.10", "fd77::2")
    assert len(wanted_of(cluster)["blog"].addresses) == MAX_ADDRESSES


@pytest.mark.parametrize(
    ("domain", "discovery", "announcing"),
    [
        ("local", "mdns", True),
        ("LOCAL", "mdns", True),
        ("local", "off", False),
        ("pi.example", "mdns", False),
    ],
)
def test_names_are_announced_under_local_and_with_discovery_only(
    domain: str, discovery: str, announcing: bool
) -> None:
    settings = with_names(Settings(), domain=domain, discovery=discovery)

    assert is_announcing(settings) is announcing


def with_names(settings: Settings, *, domain: str = "local", discovery: str = "mdns") -> Settings:
    return replace(
        settings,
        apps=replace(settings.apps, domain=domain),
        cluster=replace(settings.cluster, discovery=discovery),
    )


# --- what is done about it


def test_a_name_is_asked_for_before_it_is_announced_and_told_three_times_in_all() -> None:
    book = NameBook()

    first = book.steps(wanted(BLOG), now=0.0)
    book.conclude(first.probe, [], now=0.8)
    told = [book.steps(wanted(BLOG), now=at).announce for at in (0.8, 1.7, 1.8, 3.7, 3.8, 9.0)]

    assert first == Steps(probe=("blog",))
    assert told == [(BLOG,), (), (BLOG,), (), (BLOG,), ()]
    assert book.wait_seconds(9.0) is None  # nothing is said of a name that stays as it is


def test_when_the_addresses_change_they_are_told_at_once_without_asking() -> None:
    book = holding(BLOG, WIKI)

    changed = book.steps(wanted(MOVED, WIKI), now=20.0)

    assert changed == Steps(announce=(MOVED,))
    assert book.wait_seconds(20.0) == AGAIN_SECONDS[0]


def test_the_name_of_an_app_that_is_gone_is_taken_back() -> None:
    book = holding(BLOG, WIKI)

    assert book.steps(wanted(WIKI), now=20.0) == Steps(part=(BLOG,))
    assert book.steps(wanted(WIKI), now=21.0) == Steps()


def test_a_node_that_leads_no_more_answers_no_more_and_says_no_goodbye() -> None:
    book = holding(BLOG, WIKI)

    ended = book.steps(None, now=20.0)

    assert ended == Steps(withdraw=("blog", "wiki"))
    assert book.steps(None, now=21.0) == Steps()
    assert book.steps(wanted(BLOG), now=22.0) == Steps(probe=("blog",))


def test_a_name_that_another_machine_has_is_left_to_it_and_asked_for_again_later() -> None:
    book = NameBook()

    book.steps(wanted(BLOG, WIKI), now=0.0)
    book.conclude(["blog", "wiki"], ["blog"], now=1.0)
    at_once = book.steps(wanted(BLOG, WIKI), now=1.0)
    later = book.steps(wanted(BLOG, WIKI), now=1.0 + ASK_AGAIN_SECONDS)
    taken = book.taken
    book.conclude(later.probe, [], now=130.0)

    assert at_once == Steps(announce=(WIKI,))
    assert later.probe == ("blog",)
    assert taken == ("blog",)
    assert book.taken == ()
    assert book.steps(wanted(BLOG, WIKI), now=130.0).announce[0] == BLOG


def test_a_machine_that_comes_later_and_claims_a_name_keeps_it() -> None:
    book = holding(BLOG, WIKI)

    lost = book.lose("blog", now=20.0)

    assert lost and book.taken == ("blog",)
    assert book.steps(wanted(BLOG, WIKI), now=20.0) == Steps()
    assert not book.lose("blog", now=20.0)


def test_no_app_is_announced_under_the_name_of_a_node_that_came_later() -> None:
    book = holding(BLOG, WIKI)

    steps = book.steps(wanted(BLOG, WIKI), reserved={"blog", "pi1"}, now=20.0)

    assert steps == Steps(part=(BLOG,))
    assert book.taken == ("blog",)


def test_an_app_that_goes_while_it_is_asked_for_is_never_announced() -> None:
    book = NameBook()

    book.steps(wanted(BLOG), now=0.0)
    book.conclude(["blog"], [], now=1.0)

    assert book.steps({}, now=1.0) == Steps()
    assert book.wait_seconds(1.0) is None


@pytest.mark.parametrize(
    ("address", "ttl_seconds", "ours"),
    [
        ("192.0.2.2", ADDRESS_TTL_SECONDS, True),  # the leader before this one still answers
        ("192.0.2.2", 120, False),  # avahi on a node: the name is that machine's own
        ("192.0.2.77", ADDRESS_TTL_SECONDS, False),  # another cluster
        ("192.0.2.77", 120, False),
    ],
)
def test_who_answers_for_a_name_is_told_by_address_and_time_to_live(
    address: str, ttl_seconds: float, ours: bool
) -> None:
    nodes = [node_view(number, f"pi{number}") for number in (1, 2, 3)]

    assert is_of_this_cluster(address, ttl_seconds, nodes) is ours
