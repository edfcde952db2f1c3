"""Health checks of an app.json: what is asked of a dyno before its release goes live, and what fails it."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from builders.app_json import parse_app_json, render_app_json
from pinode.apps.commands import MakeReleaseLive, Rollback, SetConfig
from pinode.apps.errors import InvalidValue
from pinode.apps.health_check import HealthCheck
from pinode.deploy.app_wishes import formation_of, health_checks_of
from pinode.dynos.dyno import Dyno, DynoTimings, Probe, Terminate
from tests.pinode.agreement import Agreement
from tests.pinode.dyno_world import World, make_world
from tests.waiting import eventually

TIMINGS = DynoTimings(start_seconds=60, probe_seconds=0.05, stop_seconds=30)
READY = HealthCheck(path="/ready", attempts=3, wait_seconds=5)


def starting(*checks: HealthCheck, listens: bool = True) -> Dyno:
    dyno = Dyno(app="blog", timings=TIMINGS, listens=listens, checks=checks)
    dyno.begin(0)
    dyno.prepared(0)
    dyno.started(0)
    return dyno


def test_a_wrong_answer_is_asked_for_again_after_the_wait_and_fails_after_so_many_attempts() -> None:
    dyno = starting(READY)

    assert dyno.answered_wrongly("status 500", 1, is_last=False) == []
    assert (dyno.state, dyno.next_deadline()) == ("starting", 6)
    assert dyno.tick(6) == [Probe()]
    dyno.answered_wrongly("status 500", 7, is_last=False)
    effects = dyno.answered_wrongly("status 500", 13, is_last=False, last_lines=["no database"])

    assert effects == [Terminate()] and dyno.state == "failed"
    assert "did not pass its health check, asked 3 times: status 500" in str(dyno.detail)
    assert dyno.last_lines == ("no database",)


def test_a_right_answer_after_wrong_ones_is_up() -> None:
    dyno = starting(READY)
    dyno.answered_wrongly("status 503", 1, is_last=False)

    dyno.answered(6)

    assert dyno.state == "up"


def test_refused_connections_are_no_attempts_and_waiting_for_checks_does_not_count_as_not_starting() -> None:
    dyno = starting(READY)

    for moment in range(10):
        dyno.did_not_answer("nothing listens", moment, is_last=False)

    assert dyno.state == "starting"
    assert dyno.tick(69.9) == [Probe()]  # 60 s to listen, and two waits of five between three attempts
    assert dyno.tick(70) == [Probe(is_last=True)]


def test_the_first_question_waits_for_the_initial_delay_and_the_uptime() -> None:
    dyno = starting(HealthCheck(path="/", initial_delay_seconds=4, uptime_seconds=7))
    worker = starting(HealthCheck(uptime_seconds=7), listens=False)

    assert dyno.next_deadline() == worker.next_deadline() == 7
    worker.tick(7)
    assert worker.state == "up"


def test_an_app_json_is_taken_for_what_can_be_checked_here_and_the_rest_is_said() -> None:
    document = b"""{"formation": {"web": {"quantity": 2}, "worker": {"quantity": 900}, "release": {"quantity": 1}},
        "healthchecks": {"web": [
            {"type": "startup", "path": "/ready", "attempts": 2, "httpHeaders": [{"name": "X-A", "value": "b"}]},
            {"type": "liveness", "path": "/alive"},
            {"type": "startup", "command": ["true"], "name": "cmd", "port": 5000},
            {"warn": true, "path": "/slow"}],
            "worker": [{"command": ["true"]}, {"uptime": 7}]}}"""

    wishes = parse_app_json(document)
    checks, unsupported = health_checks_of(wishes)

    assert formation_of(wishes) == {"web": 2, "worker": 100}
    ready = HealthCheck(path="/ready", attempts=2, headers=(("X-A", "b"),))
    assert checks == {
        "web": (ready, HealthCheck(command=("true",))),
        "worker": (HealthCheck(uptime_seconds=7),),
    }
    assert unsupported == [
        "The health check 'liveness' of web is of type liveness, and only the start of a dyno is checked",
        "The health check 'cmd' of web names port, which is not looked at: PORT is asked over HTTP",
        "The health check 'startup' of web only warns, and is left out",
        "The health check 'startup' of worker asks something, and only dynos of web are asked; "
        "others must run for their uptime",
    ]
    assert parse_app_json(json.dumps(render_app_json(wishes)).encode()) == wishes


def test_a_release_carries_its_checks_and_so_do_those_that_are_made_of_it() -> None:
    agreed = Agreement()
    agreed.create()
    agreed.deploy(health_checks={"web": (READY,)})
    agreed.do(MakeReleaseLive(app="blog", version=1))
    agreed.do(SetConfig(app="blog", set_values={"A": b"1"}, actor="ada"))
    agreed.do(MakeReleaseLive(app="blog", version=2))
    agreed.do(Rollback(app="blog", version=1, actor="ada"))

    assert [release.health_checks for release in agreed.registry.releases("blog")] == [{"web": (READY,)}] * 3


@pytest.mark.parametrize(
    "check",
    [
        HealthCheck(path="/\n"),
        HealthCheck(attempts=0),
        HealthCheck(headers=(("a", "b"),) * 99),
        HealthCheck(command=("a\0",)),
        HealthCheck(command=("a",) * 65),
    ],
)
def test_a_check_beyond_its_bounds_is_refused(check: HealthCheck) -> None:
    agreed = Agreement()
    agreed.create()

    with pytest.raises(InvalidValue):
        agreed.deploy(health_checks={"web": (check,)})


SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("asked as", self.headers["Host"], flush=True)
        is_right = self.path == "/ready" and self.headers["X-Probe"] == "yes"
        body = b"all well" if is_right else b"no"
        self.send_response(200 if is_right else int(os.environ.get("STATUS", "404")))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await make_world(tmp_path, server=SERVER)
    yield made
    made.end_processes()


@pytest.mark.parametrize(
    ("path", "content", "wrong"),
    [
        ("/ready", "all well", ""),
        ("/other", "", "/other is answered with status 404"),
        ("/ready", "happy", "/ready is answered without 'happy' in it"),
    ],
)
async def test_a_real_dyno_is_up_only_when_it_answers_as_its_check_wants(
    world: World, path: str, content: str, wrong: str
) -> None:
    check = HealthCheck(path=path, content=content, headers=(("X-Probe", "yes"),), attempts=2, wait_seconds=0)
    async with world.running() as supervisor:
        number = world.place(world.deploy(web="exec python3 server.py", checks={"web": (check,)}))
        await eventually(world.is_in(number, "failed" if wrong else "up"), within_seconds=15)
        row = world.rows[number]
        await supervisor.stop_all()

    assert wrong in str(row.detail)


ASK = "import os, urllib.request as r; r.urlopen('http://127.0.0.1:%s/ready' % os.environ['PORT'])"


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        (("python3", "-c", "import os; assert os.environ['GIVEN'] == '$1' and open('server.py')"), ""),
        (("python3", "-c", f"try:\n {ASK}\nexcept r.HTTPError: pass"), ""),
        (("/bin/sh", "-c", "echo no database; exit 3"), "`/bin/sh -c echo no database; exit 3` exited with status 3: no database"),
        (("sleep", "61.25"), "`sleep 61.25` did not end within 1 s"),
        (("/bin/nothing",), "`/bin/nothing` exited with status"),
    ],
)  # fmt: skip
async def test_a_check_that_is_a_command_runs_with_the_dynos_files_environment_and_port(
    world: World, command: tuple[str, ...], wrong: str
) -> None:
    check = HealthCheck(
        command=command, attempts=2, wait_seconds=0, timeout_seconds=1 if "sleep" in command else 5
    )
    world.configure(GIVEN="$1")
    async with world.running() as supervisor:
        number = world.place(world.deploy(web="exec python3 server.py", checks={"web": (check,)}))
        await eventually(world.is_in(number, "failed" if wrong else "up"), within_seconds=30)
        row = world.rows[number]
        await supervisor.stop_all()

    assert wrong in str(row.detail)
    await eventually(lambda: not is_running("sleep", "61.25"))
    assert not wrong or "asked 2 times" in str(row.detail)


def is_running(*command: str) -> bool:
    wanted = "\0".join((*command, "")).encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ends just now
            found.append(path.read_bytes())
    return wanted in found


@pytest.mark.parametrize("status", [302, 401, 404, 422, 500])
async def test_any_answer_over_http_is_one_and_the_question_carries_the_apps_host(
    world: World, status: int
) -> None:
    """Checklist 4.7: without checks of its own an app is up when it answers, whatever it thinks of the question."""
    async with world.running() as supervisor:
        number = world.place(world.deploy(web=f"STATUS={status} exec python3 server.py"))
        await eventually(world.is_in(number, "up"), within_seconds=15)
        await supervisor.stop_all()

    assert "asked as blog." in world.log(number)
