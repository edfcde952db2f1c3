"""Where people are told the names of apps, and why one has none."""

from dataclasses import replace

from pinode.operations.app_names import has_name
from pinode.operations.warnings import warnings_of
from pinode.settings import Settings
from tests.pinode.fake_cluster import FakeCluster, node_view
from tests.pinode.test_lan_names import served, with_names
from tests.pinode.web_stage import stage


def test_the_url_with_the_name_is_shown_only_while_the_name_leads_to_the_nodes() -> None:
    cluster = FakeCluster()
    served(cluster, "blog")
    served(cluster, "jobs", worker="python work.py")
    own_dns = FakeCluster(settings=with_names(Settings(), domain="pi.example", discovery="off"))
    served(own_dns, "blog")
    quiet = FakeCluster(settings=with_names(Settings(), discovery="off"))
    served(quiet, "blog")
    foreign = FakeCluster()
    served(foreign, "blog")
    foreign.change_node("pi2", taken_names=("blog",))
    called_so = FakeCluster(nodes=("pi1", "blog"))
    served(called_so, "blog")

    assert has_name(cluster, "blog")
    assert not has_name(cluster, "jobs")
    assert has_name(own_dns, "blog")
    assert not has_name(quiet, "blog")
    assert not has_name(foreign, "blog")
    assert not has_name(called_so, "blog")


async def test_the_port_is_shown_first_and_the_name_last() -> None:
    async with stage("ada", "bob") as web:
        served(web.cluster, "blog")

        shown = (await web.api("GET", "/api/v1/apps/blog", by="ada")).json()

        assert shown["url"] == shown["urls"][0] == "http://192.0.2.1:9000/"
        assert shown["name_url"] == shown["urls"][-1] == "http://blog.local:8080/"


def test_status_says_whose_name_an_app_has_and_what_to_do() -> None:
    nodes = [
        replace(node_view(number, f"pi{number}"), taken_names=("printer",) if number == 2 else ())
        for number in (1, 2, 3)
    ]

    (warning,) = warnings_of(nodes, has_quorum=True)

    assert "printer.local" in warning and "pinode apps:rename printer" in warning
