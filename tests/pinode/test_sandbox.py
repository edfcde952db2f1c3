"""What a child inside the walls sees and may do: tried for real (checklist 5.9)."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pinode.errors import PinodeError
from pinode.sandbox.command_line import command_line
from pinode.sandbox.interpreters import interpreter_binds, interpreters_here, settle_interpreter
from pinode.sandbox.limits import Limits, uid_of_app
from pinode.sandbox.sandbox import Isolation, find_isolation, prepared
from pinode.sandbox.spec import Bind, SandboxError, SandboxSpec, Tools, app_command
from tests.waiting import eventually

UID = uid_of_app("blog")


@pytest.fixture(scope="module")
def isolation() -> Isolation:
    return find_isolation(required=True)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An app's folder, that belongs to the app."""
    folder = tmp_path / "dyno" / "app"
    folder.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(folder, UID, UID)
    return folder


def spec_of(app: Path, command: str, **fields: object) -> SandboxSpec:
    values: dict[str, object] = {
        "command": app_command(command),
        "env": {"PATH": "/usr/bin:/bin"},
        "binds": (Bind(str(app), "/app", writable=True),),
        "uid": UID,
        **fields,
    }
    return SandboxSpec(**values)  # type: ignore[arg-type]


def start(spec: SandboxSpec, isolation: Isolation, **options: object) -> "subprocess.Popen[bytes]":
    with prepared(spec, isolation) as ready:
        return subprocess.Popen(
            list(ready.argv), env=dict(ready.env), cwd=ready.cwd, user=ready.user, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, pass_fds=ready.pass_fds,
            **options,  # type: ignore[call-overload]
        )  # fmt: skip


def say(spec: SandboxSpec, isolation: Isolation, **options: object) -> str:
    """All it prints."""
    with start(spec, isolation, **options) as child:
        output, _ = child.communicate(timeout=30)
    return output.decode(errors="surrogateescape")


def test_the_system_is_there_and_only_app_and_tmp_can_be_written(app: Path, isolation: Isolation) -> None:
    places = "/ /usr /etc /dev /proc /home /root /var /app /tmp /dev/shm"

    said = say(spec_of(app, f"for p in {places}; do touch $p/x 2>/dev/null && echo $p; done; pwd"), isolation)

    assert said.split() == ["/app", "/tmp", "/dev/shm", "/app"]
    assert (app / "x").exists()


def test_nothing_of_the_node_is_seen(app: Path, tmp_path: Path, isolation: Isolation) -> None:
    key, other = tmp_path / "cluster.key", tmp_path / "other-app"
    key.write_text("secret of the cluster")
    other.mkdir()
    look = f"cat {key}; ls {other} {tmp_path} {tmp_path / 'dyno'}; ls -A /tmp /home /var /run /srv /root /work 2>/dev/null"

    said = say(spec_of(app, look), isolation)

    assert "secret" not in said
    assert said.count("No such file") == 4
    assert {line for line in said.splitlines() if "No such file" not in line} <= {"/tmp:", ""}


def test_no_other_process_is_seen_or_can_be_signalled(app: Path, isolation: Isolation) -> None:
    look = f"ls -d /proc/[0-9]* | wc -l; kill -9 {os.getpid()} 2>&1; kill -9 1; echo still here"

    said = say(spec_of(app, look), isolation).splitlines()

    assert int(said[0]) <= 5
    assert "No such process" in said[1]
    assert said[-1] == "still here"


def test_it_has_no_rights_no_way_to_get_some_and_a_user_of_its_own(app: Path, isolation: Isolation) -> None:
    asked = spec_of(app, "grep -E '^(Cap|NoNewPrivs|Uid|Groups)' /proc/self/status; id -un")
    groups = (
        {"extra_groups": [4, 27]} if isolation.own_uids else {}
    )  # those of a node that somebody put into some

    said = say(asked, isolation, **groups)

    fields = {line.partition(":")[0]: line.partition(":")[2].split() for line in said.splitlines()[:-1]}
    assert all(fields[name] == ["0000000000000000"] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"))
    assert fields["NoNewPrivs"] == ["1"]
    assert said.splitlines()[-1] == "app"
    if isolation.own_uids:
        assert set(fields["Uid"]) == {str(UID)}
        assert fields["Groups"] in ([], [str(UID)])
        assert fields["CapBnd"] == ["0000000000000000"]


def test_files_of_two_apps_belong_to_two_users() -> None:
    assert uid_of_app("blog") != uid_of_app("shop")
    assert 300_000 <= uid_of_app("x") < 500_000


WEIRD = {
    "WEIRD": "$HOME \"'\\ x\ny=# \u2603\U0001f600 `id`",
    "BLANKS": " \t a  b \n",
    "EMPTY": "",
    "LD_PRELOAD": "/app/evil.so",
}


def test_the_environment_arrives_byte_for_byte_and_is_all_there_is(app: Path, isolation: Isolation) -> None:
    """Checklist 4.4."""
    said = say(spec_of(app, "cat /proc/self/environ", env={**WEIRD, "PATH": "/usr/bin:/bin"}), isolation)

    found = dict(pair.partition("=")[::2] for pair in said.rpartition("ignored.\n")[2].split("\0") if pair)
    assert found == {**WEIRD, "PATH": "/usr/bin:/bin", "PWD": "/app"}


def test_a_library_that_the_app_preloads_is_loaded_inside_only(app: Path, isolation: Isolation) -> None:
    """prlimit, setpriv and bubblewrap start with an environment of ours."""
    spec = spec_of(app, "true", env=WEIRD)

    with prepared(spec, isolation) as ready:
        assert set(ready.env) == {"PATH"}
        assert not any("evil" in word for word in ready.argv)


def test_no_config_value_shows_in_the_list_of_processes_or_in_a_repr(app: Path, isolation: Isolation) -> None:
    spec = spec_of(app, "true", env={"PASSWORD": "hunter22"})

    with prepared(spec, isolation) as ready:
        assert not any("hunter22" in word for word in ready.argv)
        assert "hunter22" not in repr(spec) + repr(ready)


@pytest.mark.parametrize("env", [{"": "x"}, {"A=B": "x"}, {"A": "x\0y"}, {f"A{n}": "" for n in range(3_000)}])
def test_an_environment_that_cannot_be_handed_over_is_refused(env: Mapping[str, str]) -> None:
    with pytest.raises(SandboxError):
        SandboxSpec(command=("/bin/true",), env=env)


def test_limits_hold_inside(app: Path, isolation: Isolation) -> None:
    limits = Limits(open_files=64, file_bytes=4_096, processes=200)

    said = say(
        spec_of(app, "ulimit -n; ulimit -c; head -c 99999 /dev/zero > f; wc -c < f", limits=limits), isolation
    )

    assert [line for line in said.splitlines() if line.isdigit()] == ["64", "0", "4096"]


def test_tmp_is_bounded(app: Path, isolation: Isolation) -> None:
    fill = "head -c 3000000 /dev/zero > /tmp/f; wc -c < /tmp/f"

    said = say(spec_of(app, fill, tmp_bytes=1024 * 1024), isolation)

    assert "No space left" in said
    assert int(said.split()[-1]) <= 1024 * 1024


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' folders to pass through")
def test_what_lies_in_a_closed_home_directory_can_be_shown_without_opening_it(
    app: Path, isolation: Isolation
) -> None:
    closed = app.parent
    closed.chmod(0o700)
    (closed / "shown").mkdir(mode=0o755)
    (closed / "shown").chmod(0o755)
    (closed / "shown" / "file").write_text("content")
    (closed / "shown" / "file").chmod(0o644)

    binds = (Bind(str(app), "/app", writable=True), Bind(str(closed / "shown"), str(closed / "shown")))
    said = say(
        spec_of(app, f"cat {closed}/shown/file; ls {closed}; touch x; ls; ls /mnt", binds=binds), isolation
    )

    assert said.split()[:3] == ["contentshown", "x", "ls:"]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_a_dyno_outlives_its_node_and_its_end_is_told_in_a_file(
    app: Path, tmp_path: Path, isolation: Isolation
) -> None:
    """Checklist 4.14: the process that started it is gone when it ends."""
    status, marker = tmp_path / "status", tmp_path / "dyno" / "app" / "up"
    descriptor = os.open(status, os.O_CREAT | os.O_RDWR | os.O_APPEND)
    command = "exec >/dev/null 2>&1; trap 'exit 7' TERM; touch up; while :; do sleep 0.05; done"
    spec = spec_of(app, command, status_fd=descriptor)

    pid = os.fork()
    if pid == 0:  # a node that dies at once
        start(spec, isolation)
        os._exit(0)
    os.waitpid(pid, 0)  # noqa: ASYNC222
    os.close(descriptor)
    await eventually(marker.exists)
    inner = json.loads(status.read_text().splitlines()[0])["child-pid"]
    os.killpg(inner, signal.SIGTERM)

    await eventually(lambda: '"exit-code": 7' in status.read_text())
    await eventually(lambda: not is_running(inner))


async def test_a_build_dies_with_its_node(app: Path, tmp_path: Path, isolation: Isolation) -> None:
    descriptor = os.open(tmp_path / "status", os.O_CREAT | os.O_RDWR | os.O_APPEND)
    spec = spec_of(app, "touch up; setsid sleep 60", status_fd=descriptor, die_with_parent=True)

    pid = os.fork()
    if pid == 0:
        start(spec, isolation)
        signal.pause()
    os.close(descriptor)
    await eventually((app / "up").exists)
    inner = json.loads((tmp_path / "status").read_text().splitlines()[0])["child-pid"]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)  # noqa: ASYNC222

    await eventually(lambda: not is_running(inner))


@pytest.fixture
def without_bubblewrap(tmp_path: Path) -> str:
    """A search path on which everything but bubblewrap is found."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("prlimit", "nice", "setpriv", "unshare"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    return str(folder)


def test_where_there_are_no_walls_and_there_must_be_some_it_is_refused_with_what_to_do(
    without_bubblewrap: str,
) -> None:
    with pytest.raises(PinodeError) as refused:
        find_isolation(required=True, path=without_bubblewrap)

    assert "bubblewrap" in refused.value.message
    assert "apt install bubblewrap" in refused.value.hint
    assert "[sandbox]" in refused.value.hint


def test_without_walls_the_same_command_runs_in_the_same_folder(app: Path, without_bubblewrap: str) -> None:
    isolation = find_isolation(required=False, path=without_bubblewrap)

    said = say(spec_of(app, "pwd; echo $A", env={"A": "b c"}), isolation)

    assert not isolation.available
    assert "bubblewrap" in isolation.reason
    assert said.splitlines() == [str(app), "b c"]
    assert isolation.home(app) == str(app)


def test_the_python_of_a_slug_is_shown_only_if_it_is_one_we_know(tmp_path: Path) -> None:
    secret, managed = tmp_path / "data" / "python3.11", tmp_path / "data" / "python"
    known = managed / "cpython-3.12" / "bin" / "python3.12"
    known.parent.mkdir(parents=True)
    for path in (secret, known):
        path.write_text("")
    link = tmp_path / "app" / ".venv" / "bin" / "python"
    link.parent.mkdir(parents=True)

    assert interpreter_binds(tmp_path / "app", managed=managed) == ()
    link.symlink_to(known)
    assert [bind.source for bind in interpreter_binds(tmp_path / "app", managed=managed)] == [
        str(known.parents[1])
    ]
    for target in (
        secret,
        managed / "missing/bin/python3.12",
        managed / "../python/cpython-3.12/bin/python3.12",
        "/etc",
    ):
        link.unlink()
        link.symlink_to(target)
        with pytest.raises(SandboxError):
            interpreter_binds(tmp_path / "app", managed=managed)


def test_every_python_that_a_node_says_it_has_would_be_shown_to_a_dyno(tmp_path: Path) -> None:
    managed = tmp_path / "python"
    own, known = Path(sys.executable).resolve(), managed / "cpython-3.12/bin/python3.12"
    known.parent.mkdir(parents=True)
    for path in (known, known.with_name("python3.9-config"), managed / "python3.10"):
        path.write_text("")
        path.chmod(0o755)
    known.with_name("python3.8").symlink_to("/etc/passwd")
    link = tmp_path / "app" / ".venv" / "bin" / "python"
    link.parent.mkdir(parents=True)

    found = [path for path in interpreters_here(managed=managed) if not path.endswith("/node")]

    assert found[0] == str(own) and str(known) in found
    assert not [path for path in found if path.startswith(str(managed)) and path != str(known)]
    for path in found:
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        interpreter_binds(tmp_path / "app", managed=managed)


def test_a_slug_for_any_python_gets_that_of_the_node_and_no_other_link_is_touched(tmp_path: Path) -> None:
    own = Path(sys.executable).resolve()
    programs = tmp_path / "app" / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to("/usr/bin/python3")
    (programs / "python3").symlink_to("/usr/bin/python3.11")

    settle_interpreter(tmp_path / "app")

    assert os.readlink(programs / "python") == str(own)
    assert os.readlink(programs / "python3") == "/usr/bin/python3.11"


@pytest.mark.parametrize("linked", [".venv", ".venv/bin"])
def test_nothing_is_written_where_a_link_of_the_slug_leads(tmp_path: Path, linked: str) -> None:
    elsewhere = tmp_path / "elsewhere" / "bin"
    elsewhere.mkdir(parents=True)
    (elsewhere / "python3").symlink_to("/usr/bin/python3")
    link = tmp_path / "app" / linked
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere if linked.endswith("bin") else elsewhere.parent)

    settle_interpreter(tmp_path / "app")

    assert os.readlink(elsewhere / "python3") == "/usr/bin/python3"


def test_the_words_before_bubblewrap_are_limits_and_user() -> None:
    spec = SandboxSpec(
        command=("/bin/sh", "-c", "$(id); 'x'"), uid=300_001, limits=Limits(processes=9, niceness=5)
    )

    words = command_line(spec, Tools(), present=("/usr", "/bin"), environment_fd=3, passwd_fd=4, group_fd=5)

    before, after = words[: words.index("/usr/bin/bwrap")], words[words.index("/usr/bin/bwrap") :]
    assert before[:4] == ["/usr/bin/nice", "-n", "5", "/usr/bin/prlimit"]
    assert {
        "--nproc=9",
        "--reuid",
        "300001",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
    } <= set(before)
    assert after[-4:] == ["--", "/bin/sh", "-c", "$(id); 'x'"]
    assert "--die-with-parent" not in after
