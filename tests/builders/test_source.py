"""Real clones: branches, tags, commits, and repositories that are not as hoped (checklists 4.9, 5.1, 5.3)."""

import http.server
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from builders.errors import BoundHit, BuildError, CloneFailed, InvalidRequest
from builders.request import Bounds
from builders.source import fetch_source
from tests.builders.repositories import Repository, make_log, make_repository, make_request

HANDLER = http.server.SimpleHTTPRequestHandler


class _Quiet(HANDLER):
    """Serves files; an address below /moved/ is elsewhere now."""

    to = ""

    def do_GET(self) -> None:
        if self.path.startswith("/moved/"):
            self.send_response(301)
            self.send_header("Location", self.to + self.path.removeprefix("/moved"))
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository(
        tmp_path / "repository", {"Procfile": "web: true\n", "inner/Procfile": "web: inner\n"}
    )


@pytest.fixture
def served(tmp_path: Path, repository: Repository) -> Iterator[str]:
    """The repository over HTTP, as plain files."""
    repository.git("update-server-info")
    handler = type("Handler", (_Quiet,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path)))
    handler.to = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield handler.to  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_default_branch_is_laid_out_without_history_or_git_folder(
    tmp_path: Path, repository: Repository
) -> None:
    commit = repository.commit({"late.txt": "late"})
    request = make_request(tmp_path, repository.url)

    source = fetch_source(request, make_log()[0])

    assert source.commit == commit
    assert sorted(path.name for path in (tmp_path / "app").iterdir()) == ["Procfile", "inner", "late.txt"]
    assert (tmp_path / "work/repository.git/shallow").exists()


def test_branches_tags_and_commits_are_found_by_name(tmp_path: Path, repository: Repository) -> None:
    old = repository.git("rev-parse", "HEAD")
    repository.git("tag", "-a", "-m", "x", "v1")
    new = repository.commit({"new": "x"})
    repository.git("branch", "feature/x")

    for number, (ref, commit) in enumerate(
        {"v1": old, old: old, "feature/x": new, "refs/heads/main": new}.items()
    ):
        (tmp_path / str(number)).mkdir()
        request = make_request(tmp_path / str(number), repository.url, ref=ref)
        assert fetch_source(request, make_log()[0]).commit == commit


def test_a_branch_named_like_a_tag_wins_and_the_log_says_so(tmp_path: Path, repository: Repository) -> None:
    repository.git("tag", "same")
    repository.git("branch", "same")
    branch = repository.commit({"x": "y"})
    repository.git("branch", "--force", "same")
    log, lines = make_log()

    source = fetch_source(make_request(tmp_path, repository.url, ref="same"), log)

    assert source.commit == branch
    assert any("branch and a tag" in line for line in lines)


def test_a_subdirectory_alone_is_laid_out(tmp_path: Path, repository: Repository) -> None:
    request = make_request(tmp_path, repository.url, directory="./inner/")

    fetch_source(request, make_log()[0])

    assert (tmp_path / "app" / "Procfile").read_text() == "web: inner\n"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ref": "nowhere"}, "no branch or tag 'nowhere'"),
        ({"ref": "0" * 40}, "no commit"),
        ({"ref": "abcdef1"}, "40 digits"),
        ({"directory": "missing"}, "no directory 'missing'"),
        ({"directory": "Procfile"}, "no directory"),
    ],
)
def test_what_is_not_in_the_repository_is_named(
    tmp_path: Path, repository: Repository, fields: dict[str, str], said: str
) -> None:
    with pytest.raises(CloneFailed, match=said):
        fetch_source(make_request(tmp_path, repository.url, **fields), make_log()[0])


def test_an_empty_repository_says_that_it_is_empty(tmp_path: Path) -> None:
    empty = make_repository(tmp_path / "empty")

    with pytest.raises(CloneFailed, match="is empty"):
        fetch_source(make_request(tmp_path, empty.url), make_log()[0])


def test_a_repository_that_is_not_there_is_named(tmp_path: Path, served: str) -> None:
    (tmp_path / "b").mkdir()

    with pytest.raises(CloneFailed, match="no repository"):
        fetch_source(make_request(tmp_path, f"file://{tmp_path}/nothing"), make_log()[0])
    with pytest.raises(CloneFailed, match="no repository"):
        fetch_source(make_request(tmp_path / "b", f"{served}/nothing.git"), make_log()[0])


def test_a_server_of_plain_files_will_do(tmp_path: Path, repository: Repository, served: str) -> None:
    request = make_request(tmp_path, f"{served}/repository/.git")

    assert fetch_source(request, make_log()[0]).commit == repository.git("rev-parse", "HEAD")


def test_a_redirect_is_followed_and_told(tmp_path: Path, repository: Repository, served: str) -> None:
    log, lines = make_log()

    fetch_source(make_request(tmp_path, f"{served}/moved/repository/.git"), log)

    assert any(f"redirected to {served}/repository/.git" in line for line in lines)


def test_a_redirect_to_itself_ends(tmp_path: Path, served: str) -> None:
    with pytest.raises(CloneFailed, match="redirects more than"):
        fetch_source(make_request(tmp_path, f"{served}/moved/moved" + "/moved" * 9), make_log()[0])


def test_the_log_has_no_credentials(tmp_path: Path, repository: Repository, served: str) -> None:
    log, lines = make_log()
    url = f"{served}/nothing.git".replace("http://", "http://ada:s3cret@")

    with pytest.raises(CloneFailed) as failed:
        fetch_source(make_request(tmp_path, url), log)

    assert "s3cret" not in str(failed.value)
    assert not any("s3cret" in line for line in lines)


def test_loopback_is_refused_for_others_than_administrators(
    tmp_path: Path, repository: Repository, served: str
) -> None:
    for url in (repository.url, f"{served}/repository/.git", "ext::sh -c id", "-u"):
        with pytest.raises(InvalidRequest):
            fetch_source(make_request(tmp_path, url, administrator=False), make_log()[0])
        for name in ("work", "app", "output", "cache", "own_cache"):
            assert not list((tmp_path / name).iterdir())
            (tmp_path / name).rmdir()


def test_hooks_and_submodules_of_the_repository_do_nothing(tmp_path: Path, repository: Repository) -> None:
    inner = make_repository(tmp_path / "inner", {"secret": "x"})
    repository.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.url, "sub")
    repository.commit({".gitattributes": "* filter=evil\n"})
    marker = tmp_path / "hook-ran"
    for name in ("post-checkout", "pre-upload-pack", "post-index-change"):
        hook = repository.path / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
        hook.chmod(0o755)
    request = make_request(tmp_path, repository.url)

    source = fetch_source(request, make_log()[0])

    assert not marker.exists()
    assert list((tmp_path / "app" / "sub").iterdir()) == []
    assert [(submodule.path, submodule.url) for submodule in source.submodules] == [("sub", inner.url)]


def test_a_large_file_pointer_is_told(tmp_path: Path, repository: Repository) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    repository.commit({"model.bin": pointer})

    source = fetch_source(make_request(tmp_path, repository.url), make_log()[0])

    assert any("model.bin is a Git LFS pointer" in note for note in source.notes)


def test_a_repository_larger_than_its_bound_is_not_fetched(tmp_path: Path, repository: Repository) -> None:
    repository.commit({"noise": os.urandom(400_000)})
    request = make_request(tmp_path, repository.url, bounds=Bounds(clone_bytes=100_000))

    with pytest.raises(BoundHit) as hit:
        fetch_source(request, make_log()[0])

    assert hit.value.bound == "clone"
    assert not list((tmp_path / "app").iterdir())


@pytest.mark.parametrize("bounds", [Bounds(clone_bytes=1_000_000), Bounds(clone_files=20)])
def test_a_small_clone_that_unfolds_into_much_is_refused_before_a_file_is_written(
    tmp_path: Path, repository: Repository, bounds: Bounds
) -> None:
    repository.commit({"zeros": bytes(2_000_000), **{f"many/{number}": "" for number in range(30)}})

    with pytest.raises(BoundHit) as hit:
        fetch_source(make_request(tmp_path, repository.url, bounds=bounds), make_log()[0])

    assert hit.value.bound == "clone"
    assert not list((tmp_path / "app").iterdir())


@pytest.mark.parametrize("ref", ["--upload-pack=id", "a b", "a..b", "x\ny", "a\0", "ä", "r" * 300])
def test_refs_that_are_none_never_reach_git(tmp_path: Path, repository: Repository, ref: str) -> None:
    with pytest.raises(InvalidRequest):
        fetch_source(make_request(tmp_path, repository.url, ref=ref), make_log()[0])

    assert not list((tmp_path / "work").iterdir())


def test_the_error_of_every_failure_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as failed:
        fetch_source(make_request(tmp_path, "https://no-such-host.invalid/x.git"), make_log()[0])

    assert "\n" not in failed.value.message
    assert failed.value.hint


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ((("100644", "x", "file"), ("100644", "x", "file")), "'x' twice"),
        ((("120000", "x", "file"), ("40000", "x", "folder")), "'x' and 'x/inside'"),
        ((("40000", "x", "folder"), ("40000", "x", "folder")), "'x/inside' twice"),
        (
            (("100644", "x", "file"), ("100644", "x-y", "file"), ("40000", "x", "folder")),
            "'x' and 'x/inside'",
        ),
    ],
)
def test_a_tree_with_two_things_of_one_name_is_refused_before_a_file_is_written(
    tmp_path: Path, repository: Repository, entries: tuple[tuple[str, str, str], ...], said: str
) -> None:
    file = repository.blob("content")
    objects = {"file": file, "folder": repository.tree(("100644", "inside", file))}
    repository.commit_tree(repository.tree(*((mode, name, objects[kind]) for mode, name, kind in entries)))

    with pytest.raises(CloneFailed) as refused:
        fetch_source(make_request(tmp_path, repository.url), make_log()[0])

    assert said in refused.value.message
    assert refused.value.hint
    assert not list((tmp_path / "app").iterdir())


def test_names_that_only_begin_alike_are_no_conflict(tmp_path: Path, repository: Repository) -> None:
    repository.commit({"x": "", "x-y/z": "", "x.y": "", "x y/x": "", "xx/x": "", "y/x": ""})

    fetch_source(make_request(tmp_path, repository.url), make_log()[0])

    assert (tmp_path / "app" / "x-y" / "z").exists()
