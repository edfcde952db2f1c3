"""Submodules, for apps that ask for them: each one's own commit, laid out where the repository names it.

Only by https, or from the repository's own server; never submodules of submodules. Their addresses are
checked as the repository's own is.
"""

from pathlib import Path

from builders.errors import CloneFailed
from builders.git_command import GitCommand
from builders.git_url import GitUrl, check_git_url
from builders.inner_folder import make_inner_folder
from builders.log import BuildLog
from builders.request import BuildRequest
from builders.source import Source, Submodule, access_to, fetch_commit, lay_out_commit, settled

ASKED = "GIT_SUBMODULES"  # a config var of the app
MOST_SUBMODULES = 20


def fetch_submodules(source: Source, request: BuildRequest, log: BuildLog) -> None:
    """Lay out all of them, or say that they are left out. Raises `BuildError`."""
    if request.config_vars.get(ASKED, "") in ("", "0"):
        for submodule in source.submodules[:MOST_SUBMODULES]:
            log.problem(
                f"submodule {submodule.path} is left out; {ASKED}=1 as a config var asks for submodules"
            )
        return
    if len(source.submodules) > MOST_SUBMODULES:
        raise CloneFailed(
            f"the commit has {len(source.submodules)} submodules",
            hint=f"At most {MOST_SUBMODULES} are fetched",
        )
    for number, submodule in enumerate(source.submodules):
        _fetch(submodule, number, request, log)


def _fetch(submodule: Submodule, number: int, request: BuildRequest, log: BuildLog) -> None:
    if not submodule.url:
        raise CloneFailed(f"the submodule {submodule.path} has no url in .gitmodules", hint="Add it there")
    url = check_git_url(beside(request.git_url, submodule.url), administrator=request.administrator)
    own = check_git_url(request.git_url, administrator=request.administrator)
    if url.transport != "https" and (url.transport, url.host) != (own.transport, own.host):
        raise CloneFailed(
            f"the submodule {submodule.path} is at {url.shown}",
            hint="Submodules are fetched by https://, or from the repository's own server",
        )
    log.step(f"Fetching submodule {submodule.path} from {url.shown}")
    _lay_out(submodule, settled(url, request, log), number, request, log)


def _lay_out(submodule: Submodule, url: GitUrl, number: int, request: BuildRequest, log: BuildLog) -> None:
    work = Path(request.work) / f"submodule-{number}"
    work.mkdir()
    access = access_to(url, request)
    git = GitCommand(work, request.bounds, log, transport=url.transport, access=access)
    git.run(["init", "--quiet", "--bare", "."])
    commit = fetch_commit(git, url, submodule.commit, log)
    git.forget_access()
    target = make_inner_folder(Path(request.app), submodule.path)
    lay_out_commit(git, commit, "", str(target), request.bounds, log)


def beside(repository: str, url: str) -> str:
    """A submodule's URL; one that begins with ./ or ../ starts from the repository's."""
    if not url.startswith(("./", "../")):
        return url
    base = repository.rstrip("/")
    while url.startswith(("./", "../")):
        if url.startswith("../"):
            base = base.rpartition("/")[0]
        url = url.partition("/")[2]
    return f"{base}/{url}"
