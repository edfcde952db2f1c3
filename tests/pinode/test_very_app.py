"""A change that was allowed for one app never lands in the next one of its name, whoever owns that: made from the table
of routes.
"""

from typing import Any, get_args

import pytest

from pinode.apps.commands import AppCommand, CreateApp, CreateHook, DestroyApp
from pinode.apps.cron import CronEntry
from pinode.cluster import AgreedCommand
from pinode.web.routes import ROUTES, Route
from replicated_queue.sessions import SingleShot
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.web_stage import stage

HOOK = "0" * 16
BODIES: dict[str, Any] = {
    "PATCH /api/v1/apps/{app}": {"name": "other"},
    "PATCH /api/v1/apps/{app}/config": {"A": "1"},
    "PATCH /api/v1/apps/{app}/formation": {"web": 2},
    "PUT /api/v1/apps/{app}/maintenance": {"on": True},
    "POST /api/v1/apps/{app}/builds": {"git_url": "https://git.example.org/bob/blog.git"},
}
# They change nothing of the app, or look at what an app with nothing in it does not have.
OTHERS = {"POST /api/v1/apps/{app}/run", "DELETE /api/v1/apps/{app}/builds/{id}"}
CHANGES = {
    f"{route.method} {route.path}": route
    for route in ROUTES
    if route.access == "app" and route.method != "GET" and not route.is_page
}


class HandsOver(FakeCluster):
    """Between the check and the change the app is destroyed, and eve makes one of its name."""

    is_armed = False

    async def execute(
        self, command: AgreedCommand, *, once: SingleShot | None = None, timeout_seconds: float = 10.0
    ) -> Any:
        if self.is_armed:
            self.is_armed = False
            self.apply(DestroyApp(name="blog", actor="bob"))
            self.apply(CreateApp(name="blog", owner="eve"))
            self.apply(CreateHook(app="blog", id=HOOK, sealed_secret=b"sealed:x", actor="eve"))
        return await super().execute(command, once=once, timeout_seconds=timeout_seconds)


@pytest.mark.parametrize(
    "route", [CHANGES[name] for name in CHANGES if name not in OTHERS], ids=lambda r: f"{r.method} {r.path}"
)
async def test_what_was_allowed_for_one_app_is_not_done_to_the_next_of_its_name(route: Route) -> None:
    cluster = HandsOver()
    async with stage("bob", "eve", cluster=cluster) as web:
        web.add_app("blog", "bob")
        cluster.apply(CreateHook(app="blog", id=HOOK, sealed_secret=b"sealed:x", actor="bob"))
        entry = CronEntry(schedule="@daily", command="x")
        cluster.bring_up("blog", cluster.complete_build(cluster.start_build("blog"), schedule=(entry,)))
        cluster.is_armed = True
        path = route.path.format(app="blog", hook=HOOK, id=1, entry=1)

        answer = await web.api(route.method, path, BODIES.get(f"{route.method} {route.path}"))

        assert not cluster.is_armed, "it asked for nothing"
        assert (answer.status, answer.code) == (404, "app_destroyed")
        app = cluster.state.registry.app("blog")
        assert app is not None and app.owner == "eve"
        assert (app.config.values, app.formation, app.in_maintenance, app.is_stopped) == (
            {},
            {},
            False,
            False,
        )
        assert app.deploy_key_public is None
        assert [hook.created_by for hook in cluster.state.registry.hooks("blog")] == ["eve"]
        assert cluster.state.registry.builds("blog") == ()


def test_every_command_about_an_app_says_which_one_it_is_about() -> None:
    assert all("created_index" in kind.__dataclass_fields__ for kind in get_args(AppCommand))
