"""Submodules: left out unless the app asks for them, and then only from where they may come (checklist 4.9)."""

from pathlib import Path

import pytest

from builders.errors import BuildError
from builders.source import fetch_source
from builders.submodules import ASKED, beside, fetch_submodules
from tests.builders.repositories import Repository, make_log, make_repository, make_request


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """With a submodule at lib/inner, by an address beside its own."""
    inner = make_repository(tmp_path / "inner", {"code.py": "first"})
    repository = make_repository(tmp_path / "outer", {"Procfile": "web: x\n"})
    repository.git(
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        "-b",
        "main",
        inner.url,
        "lib/inner",
    )
    name_url(repository, "../inner")
    inner.commit({"code.py": "second"})
    return repository


def name_url(repository: Repository, url: str) -> None:
    repository.git("config", "--file", ".gitmodules", "submodule.lib/inner.url", url)
    repository.commit({})


def fetched(tmp_path: Path, repository: Repository, *, asked: str) -> list[str]:
    log, lines = make_log()
    request = make_request(tmp_path, repository.url, config_vars={ASKED: asked})
    fetch_submodules(fetch_source(request, log), request, log)
    return lines


def test_they_are_left_out_unless_asked_for_and_the_log_says_how_to_ask(
    tmp_path: Path, repository: Repository
) -> None:
    lines = fetched(tmp_path, repository, asked="0")

    assert not list((tmp_path / "app" / "lib" / "inner").iterdir())
    assert any("submodule lib/inner is left out; GIT_SUBMODULES=1" in line for line in lines)


def test_asked_for_the_very_commit_that_the_repository_names_is_laid_out(
    tmp_path: Path, repository: Repository
) -> None:
    fetched(tmp_path, repository, asked="1")

    assert (tmp_path / "app" / "lib" / "inner" / "code.py").read_text() == "first"
    assert not (tmp_path / "app" / "lib" / "inner" / ".git").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.org/inner.git", "by https://"),
        ("ssh://git@example.org/inner.git", "by https://"),
        ("ext::sh -c id", "repository URL"),
        ("--upload-pack=id", "repository URL"),
        ("https://127.0.0.1:1/inner.git", "could not be fetched"),
    ],
)
def test_other_addresses_are_refused(tmp_path: Path, repository: Repository, url: str, said: str) -> None:
    name_url(repository, url)

    with pytest.raises(BuildError) as refused:
        fetched(tmp_path, repository, asked="1")

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("repository", "url", "whole"),
    [
        ("https://x.org/a/b.git", "../c.git", "https://x.org/a/c.git"),
        ("https://x.org/a/b.git/", "../../d/c", "https://x.org/d/c"),
        ("git@x.org:a/b.git", "../c.git", "git@x.org:a/c.git"),
        ("https://x.org/a", "./c", "https://x.org/a/c"),
        ("https://x.org/a", "https://y.org/c", "https://y.org/c"),
    ],
)
def test_an_address_may_start_from_the_repositorys_own(repository: str, url: str, whole: str) -> None:
    assert beside(repository, url) == whole
