"""What dynos print: bounded on disk, stamped, merged over dynos and nodes, followed."""

import asyncio
import os
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from pinode.apps.commands import CreateApp
from pinode.errors import InvalidInput
from pinode.logs.app_log import AppLogs, Scope, follow, merge, tail
from pinode.logs.dyno_log import DynoLog, log_files, read_from, read_tail, remove_surplus
from pinode.logs.log_codec import LogQuery, decode_lines, decode_query, encode_query
from pinode.logs.log_line import PLATFORM_MARK, LogLine, Mark, clean_text, split_lines
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.linked_clusters import linked_clusters, peers_of
from tests.waiting import eventually


def dyno_log(
    directory: Path, dyno: str = "web.1", placement: int = 7, most_bytes: int = 1_000_000
) -> DynoLog:
    return DynoLog(directory, app="blog", dyno=dyno, placement=placement, most_bytes=most_bytes)


def write(log: DynoLog, data: bytes, *, at_ms: int | None = None) -> None:
    """As the dyno does, at a time of the wall clock."""
    with open(log.open(), "ab") as file:
        file.write(data)
    if at_ms is not None:
        os.utime(log.path, ns=(at_ms * 1_000_000, at_ms * 1_000_000))
        log.notice_growth()


def texts(log: DynoLog, count: int = 100) -> list[str]:
    return [line.text for line in read_tail(log.path, count)]


def test_a_line_looks_as_people_know_it() -> None:
    line = LogLine(time_ms=1_777_629_600_042, app="blog", dyno="web.1", node="pi1", text="GET / 200")

    assert str(line) == "2026-05-01T10:00:00.042Z app[web.1]: GET / 200"


def test_a_disk_that_takes_no_log_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "blog").write_text("a file where a folder should be")
    log = dyno_log(tmp_path)

    log.say("State is up")
    log.notice_growth()

    assert log.last_lines(5) == []
    (tmp_path / "blog").unlink()
    log.say("State is up")
    assert texts(log) == ["State is up"]


def test_the_marks_of_a_dyno_that_says_little_often_are_bounded_too(tmp_path: Path) -> None:
    log = dyno_log(tmp_path, most_bytes=4000)

    for second in range(200):
        write(log, b".\n", at_ms=second * 1000)

    folder = [path.stat().st_size for path in log.path.parent.iterdir()]
    assert sum(folder) < 8000
    assert len(read_tail(log.path, 300)) > 60


def test_lines_are_stamped_with_the_time_at_which_they_were_written(tmp_path: Path) -> None:
    log = dyno_log(tmp_path)
    write(log, b"one\ntwo\n", at_ms=1000)
    write(log, b"three\n", at_ms=5000)
    write(log, b"four\nfive", at_ms=9000)

    stamps = [(line.time_ms, line.text) for line in read_tail(log.path, 4)]

    assert stamps == [(1000, "two"), (5000, "three"), (9000, "four"), (9000, "five")]


def test_a_line_belongs_to_the_mark_in_which_it_begins() -> None:
    lines = split_lines(b"ab\ncd\nef", start=100, marks=[Mark(103, 1), Mark(105, 2)], last_ms=3)

    assert [(line.time_ms, line.text) for line in lines] == [(1, "ab"), (2, "cd"), (3, "ef")]


def test_the_platforms_lines_stand_on_their_own_and_are_told_apart(tmp_path: Path) -> None:
    log = dyno_log(tmp_path)
    write(log, b"half a line")
    log.say("State is crashed: exited with\nstatus 1")

    lines = read_tail(log.path, 10)

    assert [(line.is_platform, line.text) for line in lines] == [
        (False, "half a line"),
        (True, "State is crashed: exited with status 1"),
    ]
    assert log.last_lines(5) == ["half a line"]


def test_a_dyno_cannot_speak_as_the_platform(tmp_path: Path) -> None:
    log = dyno_log(tmp_path)
    write(log, PLATFORM_MARK + b"State is up\n", at_ms=1000)
    write(log, PLATFORM_MARK + b"not marked yet\n")

    assert [line.is_platform for line in read_tail(log.path, 10)] == [False, False]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\xff\xfe\x00bin\x1b[31m", "\N{REPLACEMENT CHARACTER}" * 3 + "bin\N{REPLACEMENT CHARACTER}[31m"),
        ("grüße 🍓\ttab".encode(), "grüße 🍓\ttab"),
        (b"dos\r", "dos"),
        (b"x" * 1_000_000, "x" * 8192 + " … (991808 more bytes)"),
        (b"", ""),
    ],
)
def test_binary_and_endless_lines_become_text_that_harms_no_terminal(raw: bytes, shown: str) -> None:
    assert clean_text(raw) == shown


def test_a_log_is_bounded_and_keeps_the_newest_lines(tmp_path: Path) -> None:
    log = dyno_log(tmp_path, most_bytes=20_000)
    with open(log.open(), "ab", buffering=0) as output:  # the dyno's own descriptor, open all the time
        for number in range(3_000):
            output.write(b"line %06d\n" % number)
            if number % 100 == 0:
                log.notice_growth()
        log.notice_growth()

        size = sum(part.stat().st_size for part in log.path.parent.iterdir() if "marks" not in part.name)
        kept = [int(text.split()[1]) for text in texts(log, 10_000)]

    assert size <= 25_000
    assert kept == list(range(kept[0], 3_000)) and len(kept) > 700


def test_what_was_noticed_is_known_after_a_restart_and_a_torn_mark_does_no_harm(tmp_path: Path) -> None:
    log = dyno_log(tmp_path)
    write(log, b"one\n", at_ms=1000)
    marks = log.path.with_name(log.path.name + ".marks")
    marks.write_bytes(marks.read_bytes() + b"torn")
    again = dyno_log(tmp_path)
    write(again, b"two\n", at_ms=2000)

    assert [(line.time_ms, line.text) for line in read_tail(log.path, 9)] == [(1000, "one"), (2000, "two")]


def test_nothing_is_written_while_nothing_is_printed(tmp_path: Path) -> None:
    log = dyno_log(tmp_path)
    write(log, b"one\n", at_ms=1000)
    marks = log.path.with_name(log.path.name + ".marks")
    before = marks.stat()

    for _ in range(10):
        log.notice_growth()

    assert marks.stat() == before


def test_only_whole_lines_are_followed_but_an_endless_one_is_not_waited_for(tmp_path: Path) -> None:
    log = dyno_log(tmp_path, most_bytes=10_000_000)
    write(log, b"one\ntw")
    lines, offset = read_from(log.path, 0)
    assert [line.text for line in lines] == ["one"] and offset == 4

    write(log, b"o\n" + b"x" * 1_100_000)
    lines, offset = read_from(log.path, offset)

    assert lines[-1].text.endswith("more bytes)") and offset == log.path.stat().st_size


def test_old_logs_go_first_and_those_of_running_dynos_never(tmp_path: Path) -> None:
    logs = [dyno_log(tmp_path, placement=number) for number in range(1, 6)]
    for number, log in enumerate(logs):
        write(log, b"x" * 1000, at_ms=1000 + number)

    remove_surplus(tmp_path, "blog", most_bytes=2_500, keep=frozenset({logs[0].path}))

    assert log_files(tmp_path, "blog") == [logs[0].path, logs[3].path, logs[4].path]


def test_logs_are_merged_by_time_and_each_keeps_its_order() -> None:
    def line(time_ms: int, text: str) -> LogLine:
        return LogLine(time_ms=time_ms, app="blog", dyno="web.1", node="pi1", text=text)

    merged = merge([[line(1, "a"), line(5, "b"), line(5, "c")], [line(2, "x"), line(9, "y")]], 4)

    assert [one.text for one in merged] == ["x", "b", "c", "y"]


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\x01", encode_query(LogQuery(app="../etc", lines=1)), b"\x80"]
)
def test_a_question_that_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode_query(payload)
    with pytest.raises(InvalidInput):
        decode_lines(payload or b"\x01", app="blog", node="pi1")


@pytest.fixture
def nodes(tmp_path: Path) -> list[FakeCluster]:
    clusters = linked_clusters("pi1", "pi2", "pi3")
    for cluster in clusters:
        AppLogs(cluster, tmp_path / cluster.node_name).serve()
    return clusters


async def test_the_tail_of_an_app_comes_from_all_nodes_in_order_of_time(
    nodes: list[FakeCluster], tmp_path: Path
) -> None:
    write(dyno_log(tmp_path / "pi1", "web.1", 1), b"a\n", at_ms=1000)
    write(dyno_log(tmp_path / "pi2", "web.2", 2), b"b\n", at_ms=2000)
    write(dyno_log(tmp_path / "pi3", "worker.1", 3), b"c\n", at_ms=3000)

    for cluster in nodes:
        found = await tail(cluster, "blog", 10)
        assert [(line.node, line.dyno, line.text) for line in found] == [
            ("pi1", "web.1", "a"),
            ("pi2", "web.2", "b"),
            ("pi3", "worker.1", "c"),
        ]
    assert [line.text for line in await tail(nodes[0], "blog", 10, "web")] == ["a", "b"]
    assert [line.text for line in await tail(nodes[0], "blog", 10, "web.2")] == ["b"]
    assert [line.text for line in await tail(nodes[0], "blog", 1)] == ["c"]


async def test_the_lines_of_one_node_alone_and_none_older_than_asked_for(
    nodes: list[FakeCluster], tmp_path: Path
) -> None:
    write(dyno_log(tmp_path / "pi1", "web.1", 1), b"old\n", at_ms=1000)
    write(dyno_log(tmp_path / "pi2", "web.2", 2), b"b\n", at_ms=2000)
    write(dyno_log(tmp_path / "pi1", "worker.1", 3), b"new\n", at_ms=3000)
    first = Scope(node_id=nodes[0].node_id)
    late = Scope(since_ms=2000)

    assert [line.text for line in await tail(nodes[2], "blog", 10, scope=first)] == ["old", "new"]
    assert [line.text for line in await tail(nodes[2], "blog", 10, scope=late)] == ["b", "new"]
    async with aclosing(follow(nodes[1], "blog", 10, scope=replace(first, since_ms=2000))) as lines:
        assert (await anext(lines)).text == "new"
        write(dyno_log(tmp_path / "pi2", "web.2", 2), b"elsewhere\n", at_ms=4000)
        write(dyno_log(tmp_path / "pi1", "web.1", 1), b"here\n", at_ms=5000)
        assert (await anext(lines)).text == "here"


async def test_a_dead_or_silent_node_is_named_and_the_others_lines_are_there(
    nodes: list[FakeCluster], tmp_path: Path
) -> None:
    write(dyno_log(tmp_path / "pi1"), b"a\n", at_ms=1000)
    nodes[0].change_node("pi2", state="dead")
    peers_of(nodes[0]).unreachable.add(nodes[2].node_id)

    found = [str(line).partition("Z ")[2] for line in await tail(nodes[0], "blog", 10)]

    assert found == [
        "pinode[pi2]: node pi2 is dead: what dynos printed there is missing here",
        "pinode[pi3]: node pi3 did not answer: what dynos printed there is missing here",
        "app[web.1]: a",
    ]


async def test_following_gives_the_newest_lines_then_every_further_one_of_every_dyno(
    nodes: list[FakeCluster], tmp_path: Path
) -> None:
    first = dyno_log(tmp_path / "pi1")
    write(first, b"old\nnewest\n", at_ms=1000)
    seen: list[str] = []

    async def read() -> None:
        async with aclosing(follow(nodes[1], "blog", 1)) as lines:
            async for line in lines:
                seen.append(f"{line.node} {line.dyno} {line.text}")

    reading = asyncio.create_task(read())
    await eventually(lambda: seen == ["pi1 web.1 newest"])
    write(first, b"more\n")
    await eventually(lambda: seen[1:] == ["pi1 web.1 more"])
    write(dyno_log(tmp_path / "pi3", "web.2", 9), b"hello\n")
    await eventually(lambda: seen[2:] == ["pi3 web.2 hello"])
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_following_goes_on_over_a_log_that_starts_over(
    nodes: list[FakeCluster], tmp_path: Path
) -> None:
    log = dyno_log(tmp_path / "pi1", most_bytes=2_000)
    write(log, b"begin\n", at_ms=1000)
    seen: list[str] = []

    async def read() -> None:
        async with aclosing(follow(nodes[0], "blog", 1)) as lines:
            async for line in lines:
                seen.append(line.text)

    reading = asyncio.create_task(read())
    await eventually(lambda: seen)
    write(log, b"x" * 1_500 + b"\n")
    await eventually(lambda: len(seen) == 2)
    log.notice_growth()
    write(log, b"y" * 1_600 + b"\nafter\n")
    await eventually(lambda: seen[-1] == "after")
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_logs_of_a_destroyed_app_are_not_for_the_next_one_of_its_name(tmp_path: Path) -> None:
    cluster = FakeCluster()
    cluster.add_user("ada")
    cluster.apply(CreateApp(name="blog", owner="ada", git_url=None))
    app = cluster.state.registry.app("blog")
    assert app is not None and app.created_index > 1
    write(dyno_log(tmp_path, placement=app.created_index - 1), b"the former owner's secret\n")
    write(dyno_log(tmp_path, placement=app.created_index + 1), b"hello\n")
    AppLogs(cluster, tmp_path).serve()

    lines = await tail(cluster, "blog", 100)

    assert {line.text for line in lines} == {"hello"}
