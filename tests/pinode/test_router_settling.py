"""A router that runs keeps its routes until the node process that found it again knows better."""

from pinode.router.route_table import AppRoutes, Route, RouteTable
from pinode.router.settling import LEADERLESS_SECONDS, SETTLE_SECONDS, WHOLE_SECONDS, Settling

ROUTE = Route(placement=1, node_id="a", host="10.0.0.1", router_port=7301)
WHOLE = RouteTable((AppRoutes("blog", 9000, 1, (ROUTE,)), AppRoutes("none", 9001, 0)))
LACKING = RouteTable((AppRoutes("blog", 9000, 1, ()),))


def test_a_router_without_routes_is_told_at_once() -> None:
    assert Settling(has_routes=False).may_push(LACKING, is_caught_up=False, now=0)


def test_a_moment_after_it_caught_up_what_is_known_counts() -> None:
    settling = Settling(has_routes=True)

    assert not settling.may_push(WHOLE, is_caught_up=False, now=0)
    assert not settling.may_push(WHOLE, is_caught_up=True, now=5)
    assert settling.may_push(WHOLE, is_caught_up=True, now=5 + SETTLE_SECONDS)


def test_an_app_of_which_no_dyno_was_heard_of_yet_keeps_its_old_routes_for_longer() -> None:
    settling = Settling(has_routes=True)
    settling.may_push(LACKING, is_caught_up=True, now=0)

    assert not settling.may_push(LACKING, is_caught_up=True, now=SETTLE_SECONDS + 1)
    assert settling.may_push(WHOLE, is_caught_up=True, now=SETTLE_SECONDS + 1)
    assert settling.may_push(LACKING, is_caught_up=True, now=WHOLE_SECONDS)


def test_without_a_leader_the_old_routes_are_kept_for_a_minute() -> None:
    settling = Settling(has_routes=True)
    settling.may_push(WHOLE, is_caught_up=False, now=0)

    assert not settling.may_push(WHOLE, is_caught_up=False, now=LEADERLESS_SECONDS - 1)
    assert settling.may_push(WHOLE, is_caught_up=False, now=LEADERLESS_SECONDS)
