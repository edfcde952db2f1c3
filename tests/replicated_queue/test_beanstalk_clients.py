"""greenstalk, a client that knows nothing of us, does everything it can through the door."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import greenstalk
import pytest

from tests.replicated_queue.beanstalk_servers import Server
from tests.waiting import until

Connect = Callable[..., greenstalk.Client]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server.ours(tmp_path_factory.mktemp("beanstalk")) as server:
        yield server


@pytest.fixture
def connect(server: Server, request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Clients of a tube that is this test's own."""
    tube = f"tube-{abs(hash(request.node.name)) % 10**9}"
    clients = []

    def make(use: str = tube, watch: str | list[str] = tube) -> greenstalk.Client:
        clients.append(greenstalk.Client(str(server.path), use=use, watch=watch))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_put_reserve_delete(connect: Connect) -> None:
    client = connect()
    job_id = client.put("hello", priority=7, ttr=30)

    job = client.reserve(timeout=1)
    client.delete(job)

    assert (job.id, job.body) == (job_id, "hello")
    with pytest.raises(greenstalk.NotFoundError):
        client.peek(job_id)


def test_release_and_bury_and_kick(connect: Connect) -> None:
    client = connect()
    client.put("hello")

    client.release(client.reserve(), priority=9)
    client.bury(client.reserve(), priority=5)

    buried = client.peek_buried()
    assert client.stats_job(buried)["pri"] == 5
    assert client.kick(10) == 1
    assert client.peek_ready().id == buried.id


def test_delayed_jobs_wait_and_can_be_kicked_one_by_one(connect: Connect) -> None:
    client = connect()
    job_id = client.put("later", delay=100)

    assert client.peek_delayed().id == job_id
    with pytest.raises(greenstalk.TimedOutError):
        client.reserve(timeout=0)
    client.kick_job(job_id)

    assert client.reserve(timeout=0).id == job_id


def test_a_delayed_job_is_given_out_when_it_is_due(connect: Connect) -> None:
    client = connect()
    job_id = client.put("soon", delay=1)

    assert client.reserve(timeout=5).id == job_id


def test_touch_gives_the_job_its_time_again(connect: Connect) -> None:
    client = connect()
    client.put("hello", ttr=2)
    job = client.reserve()
    until(lambda: client.stats_job(job)["time-left"] == 0, within_seconds=5, saying="time is running out")

    client.touch(job)

    assert client.stats_job(job)["time-left"] >= 1


def test_one_job_can_be_reserved_by_its_id(connect: Connect) -> None:
    client = connect()
    client.put("first")
    second = client.put("second")

    assert client.reserve_job(second).body == "second"
    with pytest.raises(greenstalk.NotFoundError):
        connect().reserve_job(second)


def test_tubes_used_and_watched(connect: Connect) -> None:
    client = connect()
    client.use("other")
    client.watch("other")

    assert client.using() == "other"
    assert "other" in client.watching()
    assert {"default", "other"} <= set(client.tubes())
    assert client.ignore("other") == 1
    with pytest.raises(greenstalk.NotIgnoredError):
        client.ignore(client.watching()[0])


def test_a_paused_tube_gives_out_nothing_for_a_while(connect: Connect) -> None:
    client = connect()
    client.put("hello")

    client.pause_tube(client.using(), delay=1)

    with pytest.raises(greenstalk.TimedOutError):
        client.reserve(timeout=0)
    assert client.reserve(timeout=5).body == "hello"


def test_statistics_of_job_tube_and_server(connect: Connect) -> None:
    client = connect()
    job_id = client.put("hello", priority=5, delay=0, ttr=90)

    job, tube, server = client.stats_job(job_id), client.stats_tube(client.using()), client.stats()

    assert (job["state"], job["pri"], job["ttr"]) == ("ready", 5, 90)
    assert (tube["current-jobs-urgent"], tube["total-jobs"], tube["current-using"]) == (1, 1, 1)
    assert server["max-job-size"] == 65_535
    assert server["current-connections"] >= 1


def test_a_time_to_run_of_0_becomes_1_and_its_end_is_announced(connect: Connect) -> None:
    client = connect()
    job_id = client.put("hello", ttr=0)
    client.reserve()

    assert client.stats_job(job_id)["ttr"] == 1
    with pytest.raises(greenstalk.DeadlineSoonError):
        client.reserve()
    assert connect().reserve(timeout=5).id == job_id
    assert client.stats_job(job_id)["timeouts"] == 1


def test_a_job_that_is_too_big_is_refused_and_the_connection_goes_on(connect: Connect) -> None:
    client = connect()

    with pytest.raises(greenstalk.JobTooBigError):
        client.put("x" * 65_536)

    assert client.peek(client.put("x" * 65_535)).body == "x" * 65_535


def test_a_closed_connection_releases_its_jobs_at_once(connect: Connect) -> None:
    client, other = connect(), connect()
    job_id = client.put("hello", ttr=1_000)
    client.reserve()

    client.close()

    assert other.reserve(timeout=5).id == job_id
    assert other.stats_job(job_id)["releases"] == 0


def test_a_client_that_leaves_while_it_waits_takes_no_job_along(connect: Connect) -> None:
    client, other = connect(), connect()
    waiting = threading.Thread(target=_reserve_and_be_cut_off, args=(client,), daemon=True)
    waiting.start()
    tube = other.using()
    until(lambda: other.stats_tube(tube)["current-waiting"] == 1, within_seconds=5, saying="it waits")

    client._sock.shutdown(2)
    waiting.join()
    until(lambda: other.stats_tube(tube)["current-waiting"] == 0, within_seconds=5, saying="it has left")

    job_id = other.put("hello")
    assert other.reserve(timeout=1).id == job_id


def _reserve_and_be_cut_off(client: greenstalk.Client) -> None:
    try:
        client.reserve()
    except (OSError, ConnectionError):
        pass


def test_who_waits_gets_the_job_that_comes(connect: Connect) -> None:
    client, other = connect(), connect()
    found = []
    waiting = threading.Thread(target=lambda: found.append(client.reserve(timeout=10)), daemon=True)
    waiting.start()
    until(lambda: other.stats()["current-waiting"] >= 1, within_seconds=5, saying="it waits")

    job_id = other.put("hello")
    waiting.join()

    assert [job.id for job in found] == [job_id]


@pytest.mark.parametrize("tube", ["pinode.builds", "-x", "a b", "x" * 201])
def test_tubes_of_the_platform_and_names_that_are_none_are_refused(connect: Connect, tube: str) -> None:
    client = connect()

    with pytest.raises((greenstalk.BadFormatError, greenstalk.UnknownResponseError)):
        client.use(tube)


def test_jobs_survive_a_restart_of_the_program_that_keeps_them(tmp_path: Path) -> None:
    directory = ("-b", str(tmp_path / "jobs"))
    with Server.ours(tmp_path, *directory) as server:
        with greenstalk.Client(str(server.path)) as client:
            first, second = client.put("held", ttr=1_000), client.put("waiting", priority=2**31)
            client.reserve()

            server.process.kill()
            server.process.wait(timeout=10)

    with Server.ours(tmp_path, *directory) as server, greenstalk.Client(str(server.path)) as client:
        assert [client.reserve(timeout=5).id for _ in range(2)] == [first, second]


def test_a_draining_server_takes_no_new_jobs(tmp_path: Path) -> None:
    with Server.ours(tmp_path) as server, greenstalk.Client(str(server.path)) as client:
        client.put("taken")
        server.process.send_signal(signal.SIGUSR1)
        until(lambda: str(client.stats()["draining"]).lower() == "true", within_seconds=5, saying="it drains")

        with pytest.raises(greenstalk.DrainingError):
            client.put("hello")
