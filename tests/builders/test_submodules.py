"""Submodules: left out unless the app asks for them, and then only from where they may come (checklist 4.9)."""

from pathlib import Path

import pytest

from builders.errors import BuildError
from builders.source import Source, Submodule, fetch_source
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


def test_a_link_beside_a_folder_of_its_name_leads_no_submodule_out_of_the_app(tmp_path: Path) -> None:
    """The folder names the submodule, the link would be checked out last: into what all apps share."""
    tools = tmp_path / "cache" / "tools"
    inner = make_repository(tmp_path / "inner", {"code.py": "evil"})
    outer = make_repository(tmp_path / "outer", {"Procfile": "web: x\n"})
    modules = outer.blob('[submodule "x"]\n\tpath = x/go-bin\n\turl = ../inner\n')
    folder = outer.tree(("160000", "go-bin", inner.git("rev-parse", "HEAD")))
    outer.commit_tree(
        outer.tree(
            ("100644", ".gitmodules", modules),
            ("40000", "x", folder),
            ("120000", "x", outer.blob(str(tools))),
        )
    )

    with pytest.raises(BuildError, match="'x' and 'x/go-bin'"):
        fetched(tmp_path, outer, asked="1")

    assert not tools.exists()
    assert not list((tmp_path / "app").iterdir()), "refused before a file is written"


@pytest.mark.parametrize(
    ("stands", "path"),
    [("link", "x"), ("link", "x/go-bin"), ("link", "deep/x/go-bin"), ("file", "x"), ("file", "x/go-bin")],
)
def test_a_submodule_goes_into_a_folder_of_the_app_or_nowhere(tmp_path: Path, stands: str, path: str) -> None:
    inner = make_repository(tmp_path / "inner", {"code.py": "evil"})
    outside = tmp_path / "outside"
    (outside / "go-bin").mkdir(parents=True)
    log, _ = make_log()
    request = make_request(tmp_path, inner.url, config_vars={ASKED: "1"})
    place = tmp_path / "app" / path.removesuffix("/go-bin")
    place.parent.mkdir(exist_ok=True)
    if stands == "link":
        place.symlink_to(outside)
    else:
        place.write_text("a file")
    commit = inner.git("rev-parse", "HEAD")

    with pytest.raises(BuildError, match=r"x' in the repository is no folder"):
        fetch_submodules(Source("", submodules=(Submodule(path, inner.url, commit),)), request, log)

    assert [path.name for path in outside.rglob("*")] == ["go-bin"]


@pytest.mark.parametrize("path", ["../beside", "a/../../beside", "/beside"])
def test_a_submodule_whose_path_leads_out_is_refused(tmp_path: Path, path: str) -> None:
    inner = make_repository(tmp_path / "inner", {"code.py": "evil"})
    log, _ = make_log()
    request = make_request(tmp_path, inner.url, config_vars={ASKED: "1"})
    where = f"{tmp_path}{path}" if path.startswith("/") else path
    submodule = Submodule(where, inner.url, inner.git("rev-parse", "HEAD"))

    with pytest.raises(BuildError, match="leads out of the app"):
        fetch_submodules(Source("", submodules=(submodule,)), request, log)

    assert not (tmp_path / "beside").exists()


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
