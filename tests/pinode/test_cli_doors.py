"""How the command line finds a node: its socket, or servers in order; and what it says of each shut door."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.cli.api_client import ApiClient
from pinode.cli.doors import SYSTEM_FOLDERS, socket_paths
from pinode.cli.invocation import ExitCode, Failure, Invocation
from tests.pinode.cli_stage import CliStage, cli_stage, run_here
from tests.pinode.web_certificate import free_port

NOBODY = 65534


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    with cli_stage(tmp_path) as stage:
        yield stage


@contextlib.contextmanager
def scripted(path: Path, *answers: bytes) -> Iterator[None]:
    """A socket whose every connection gets the next of these bytes, then its end."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(path))
        door.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = door.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield


def test_servers_are_tried_in_order_until_one_answers(node: CliStage) -> None:
    dead = f"https://127.0.0.1:{free_port()}"

    ran = node.run_far("apps", "--json", PINODE_SERVER=f"{dead}, {node.server}")

    assert ran.code == 0
    assert ran.document == {"items": [], "next": None}


def test_a_server_that_is_silent_does_not_keep_the_next_one_from_being_asked(node: CliStage) -> None:
    with socket.socket() as silent:  # the kernel takes the connection, nobody answers the handshake
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent_server = f"127.0.0.1:{silent.getsockname()[1]}"

        ran = node.run_far("apps", PINODE_SERVER=f"{silent_server},127.0.0.1:{node.port}")

    assert ran.code == 0


def test_when_no_server_answers_all_of_them_are_named_and_that_is_6() -> None:
    ports = [free_port(), free_port()]

    ran = run_here("status", "--server", ",".join(f"https://127.0.0.1:{port}" for port in ports))

    assert ran.code == 6
    assert all(f"https://127.0.0.1:{port} (Connection refused)" in ran.err for port in ports)


def test_a_host_that_has_no_address_is_6() -> None:
    ran = run_here("status", "--server", "https://pi1.invalid")

    assert ran.code == 6
    assert "pi1.invalid" in ran.err


def test_the_flag_wins_over_the_environment(node: CliStage) -> None:
    ran = node.run_far("apps", "--server", node.server, PINODE_SERVER="https://127.0.0.1:1")

    assert ran.code == 0


def test_a_certificate_that_nobody_vouches_for_is_not_believed(node: CliStage) -> None:
    ran = node.run_far("apps", PINODE_CA="")

    assert ran.code == 6
    assert "is not trusted" in ran.err and "PINODE_CA" in ran.err and "/ca.pem" in ran.err


def test_a_ca_file_that_is_none_is_named(node: CliStage, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")

    for path in (tmp_path / "nowhere.pem", tmp_path / "empty.pem"):
        ran = node.run_far("apps", PINODE_CA=str(path))
        assert ran.code == 2
        assert str(path) in ran.err


@pytest.mark.parametrize(
    "server",
    ["http://pi1:8000", "ftp://pi1", "https://", "https://pi1:x", "https://[::1", "https://u:p@pi1", "https://pi1/x",
     "https://pi\x01", "https://pï1", "https://pi1:99999"],
)  # fmt: skip
def test_what_is_no_address_of_a_node_is_named(server: str) -> None:
    ran = run_here("status", "--server", server)

    assert ran.code == 2
    assert f"the server {server!r}" in ran.err.replace("�", "\x01")


def test_without_a_token_or_with_a_wrong_one_it_is_4(node: CliStage) -> None:
    none = node.run_far("apps", PINODE_TOKEN="")
    wrong = node.run_far("apps", PINODE_TOKEN="x" * 40)
    strange = node.run_far("apps", PINODE_TOKEN="two\nlines")

    assert [ran.code for ran in (none, wrong, strange)] == [4, 4, 4]
    assert "you are not logged in" in none.err and "PINODE_TOKEN" in none.err
    assert "wrong or expired" in wrong.err
    assert "PINODE_TOKEN is not a token" in strange.err


def test_what_only_the_node_itself_does_is_refused_from_elsewhere(node: CliStage) -> None:
    for words in (["setup-code"], ["stop"]):
        ran = node.run_far(*words)
        assert ran.code == 3
        assert "on the node" in ran.err
    assert node.control.stopped == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_socket_of_somebody_else_is_4_and_says_sudo(node: CliStage) -> None:
    node.run("apps")  # so that all modules are there before this process may read less

    os.seteuid(NOBODY)
    try:
        ran = node.run("apps")
    finally:
        os.seteuid(0)

    assert ran.code == 4
    assert str(node.socket) in ran.err and "sudo pinode" in ran.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_node_whose_directory_only_root_may_enter_is_4_and_says_sudo(tmp_path: Path) -> None:
    settings = {"PINODE_NODE_DATA_DIR": str(tmp_path / "closed/data"), "HOME": "/nonexistent"}
    (tmp_path / "closed").mkdir(mode=0o700)
    run_here("apps", **settings)  # so that all modules are there before this process may read less

    os.seteuid(NOBODY)
    try:
        ran = run_here("apps", **settings)
    finally:
        os.seteuid(0)

    assert ran.code == 4
    assert "sudo pinode" in ran.err


def test_who_names_a_data_directory_or_a_file_never_reaches_another_node(tmp_path: Path) -> None:
    settings = tmp_path / "cluster.toml"
    settings.write_text('[node]\ndata_dir = "data"\n')

    by_folder = socket_paths(Invocation(data_dir=tmp_path, environment={}))
    by_file = socket_paths(Invocation(config=settings, environment={}))
    by_nothing = socket_paths(
        Invocation(environment={"HOME": str(tmp_path), "PINODE_NODE_DATA_DIR": str(tmp_path)})
    )

    assert by_folder == [tmp_path / "pinode.sock"]
    assert by_file == [tmp_path / "data/pinode.sock"]
    assert by_nothing[0] == tmp_path / "pinode.sock"
    assert set(by_nothing[1:]) <= {folder / "pinode.sock" for folder in SYSTEM_FOLDERS}


@pytest.mark.parametrize("words", [["--config", "CONFIG", "apps"], ["apps", "--config=CONFIG"]])
def test_the_node_is_found_through_its_settings(node: CliStage, words: list[str]) -> None:
    settings = node.folder / "cluster.toml"
    settings.write_text(f'[node]\ndata_dir = "{node.folder}"\n')

    ran = run_here(*(word.replace("CONFIG", str(settings)) for word in words))

    assert ran.code == 0


def test_settings_that_cannot_be_are_2_with_file_key_and_example(tmp_path: Path) -> None:
    settings = tmp_path / "cluster.toml"
    settings.write_text('[listen]\nweb = "nowhere"\n')

    for words in (["status"], ["start"]):
        ran = run_here(*words, "--config", str(settings))
        assert ran.code == 2
        assert str(settings) in ran.err and "[listen] web" in ran.err and 'web = "0.0.0.0:7300"' in ran.err


def test_a_node_that_is_cut_off_refuses_changes_with_7_and_marks_what_it_shows(node: CliStage) -> None:
    node.add_app("blog")
    node.do(lambda cluster: setattr(cluster, "has_quorum", False))

    write, read = node.run("config:set", "A=1", "-a", "blog"), node.run("apps")

    assert write.code == 7
    assert "no quorum" in write.err
    assert read.code == 0 and "blog" in read.out
    assert read.err.count("may be old") == 1


def test_another_server_is_asked_when_the_first_one_is_cut_off(node: CliStage, tmp_path: Path) -> None:
    (tmp_path / "cut").mkdir()
    with cli_stage(tmp_path / "cut", certificate=node.certificate) as cut_off:
        cut_off.let_in("ada")
        cut_off.do(lambda cluster: setattr(cluster, "has_quorum", False))

        ran = node.run_far("apps:create", "blog", PINODE_SERVER=f"{cut_off.server},{node.server}")

    assert ran.code == 0
    assert node.cluster.state.registry.app("blog")


def test_an_answer_that_is_not_pinodes_is_said_so(tmp_path: Path) -> None:
    with scripted(tmp_path / "pinode.sock", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"):
        ran = run_here("apps", "--data-dir", str(tmp_path))

    assert ran.code == 1
    assert "is not pinode" in ran.err and "<html>" in ran.err


@pytest.mark.parametrize(
    "answer, code",
    [
        (b"", 6),
        (b"garbage\r\n\r\n", 6),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", 1),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", 1),
        (b'HTTP/1.1 500 Oops\r\nContent-Length: 12\r\n\r\n{"error": []}', 1),
    ],
)
def test_a_broken_answer_is_a_message_and_no_traceback(tmp_path: Path, answer: bytes, code: int) -> None:
    with scripted(tmp_path / "pinode.sock", answer):
        ran = run_here("apps", "--data-dir", str(tmp_path))

    assert ran.code == code
    assert ran.err.startswith("pinode: ")


def test_a_log_that_breaks_off_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    half = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello\n\r\n"

    short = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello\n"

    with scripted(tmp_path / "pinode.sock", half, short):
        several = [run_here("logs", "-a", "blog", "--data-dir", str(tmp_path)) for _ in (half, short)]

    for ran in several:
        assert (ran.code, ran.out) == (1, "hello\n")
        assert "broke off" in ran.err


def test_a_list_of_several_pages_is_read_whole(tmp_path: Path) -> None:
    def page(body: bytes) -> bytes:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    pages = (page(b'{"items": [1, 2], "next": "2"}'), page(b'{"items": [3], "next": null}'))
    with scripted(tmp_path / "pinode.sock", *pages):
        found = ApiClient(Invocation(data_dir=tmp_path, environment={})).items("/api/v1/things")

    assert found == [1, 2, 3]


def test_an_error_status_is_the_exit_code_that_scripts_rely_on(tmp_path: Path) -> None:
    expected = {400: 2, 401: 4, 403: 4, 404: 3, 409: 5, 413: 2, 429: 1, 500: 1, 502: 6, 504: 8}
    body = b'{"error": {"code": "some", "message": "what happened", "hint": "what to do"}}'
    answers = [
        f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body for status in expected
    ]
    client = ApiClient(Invocation(data_dir=tmp_path, environment={}))

    with scripted(tmp_path / "pinode.sock", *answers):
        for status, code in expected.items():
            with pytest.raises(Failure, match="what happened") as caught:
                client.get("/api/v1/apps")
            assert caught.value.code == code, status
            assert caught.value.hint == "what to do" or "PINODE_TOKEN" in str(caught.value.hint)


def test_only_a_cut_off_node_is_7_a_busy_one_is_not(tmp_path: Path) -> None:
    answers = []
    for code in ("no_leader", "busy"):
        body = f'{{"error": {{"code": "{code}", "message": "later", "hint": ""}}}}'.encode()
        answers.append(f"HTTP/1.1 503 X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    with scripted(tmp_path / "pinode.sock", *answers):
        codes = [run_here("apps", "--data-dir", str(tmp_path)).code for _ in answers]

    assert codes == [ExitCode.NO_LEADER, ExitCode.FAILED]
