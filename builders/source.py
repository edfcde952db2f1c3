"""One commit of a repository, fetched by git within bounds and laid out in the app's folder.

Nothing of the repository runs: no hooks, no submodules, no filters. No text of a user is taken for an option,
and the only transport git may use is the URL's own. Redirects are followed by ourselves, so that each address
is checked.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from builders.archive import ArchiveBounds, unpack
from builders.errors import BoundHit, CloneFailed, InvalidRequest
from builders.git_access import GitAccess
from builders.git_command import GitCommand, GitError
from builders.git_url import GitUrl, check_directory, check_git_url, check_ref, is_commit
from builders.log import BuildLog
from builders.redirects import check_addresses, follow_redirects
from builders.request import Bounds, BuildRequest

LFS_MARK = b"version https://git-lfs.github.com/spec/v1\n"
LFS_FILE_BYTES = 1_024
LISTING_BYTES = 64 * 1024 * 1024
TREE_LINE = re.compile(
    r"(?P<mode>\d{6}) (?P<kind>\w+) (?P<object>[0-9a-f]+) +(?P<size>\d+|-)\t(?P<path>.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Submodule:
    """Another repository's commit, at a path of the app. `url` as .gitmodules names it, or empty."""

    path: str
    url: str
    commit: str


@dataclass(frozen=True, slots=True)
class Source:
    """The commit that was laid out. Its submodules are not."""

    commit: str
    notes: tuple[str, ...] = ()
    submodules: tuple[Submodule, ...] = ()


def fetch_source(request: BuildRequest, log: BuildLog) -> Source:
    """Fetch the commit the request names into its app folder. Raises `BuildError`."""
    if request.archive:
        return _unpacked(request, log)
    url = check_git_url(request.git_url, administrator=request.administrator)
    ref, directory = check_ref(request.ref), check_directory(request.directory)
    log.step(f"Fetching {url.shown}" + (f" at {ref}" if ref else ""))
    url = settled(url, request, log)
    access = access_to(url, request)
    git = GitCommand(Path(request.work), request.bounds, log, transport=url.transport, access=access)
    git.run(["init", "--quiet", "--bare", "."])
    if ref and not git.succeeds(["check-ref-format", f"refs/heads/{ref}"]):
        raise InvalidRequest(
            f"'{ref}' is no name that git accepts", hint="Use a branch, a tag or a full commit"
        )
    commit = fetch_commit(git, url, ref, log)
    git.forget_access()
    return lay_out_commit(git, commit, directory, request.app, request.bounds, log)


def access_to(url: GitUrl, request: BuildRequest) -> GitAccess:
    """The secrets for this URL: what stands in it, and the app's deploy key."""
    user, password = url.credentials
    return GitAccess(
        user=user, password=password, deploy_key=request.deploy_key, known_hosts=request.own_cache
    )


def lay_out_commit(
    git: GitCommand, commit: str, directory: str, app: str, bounds: Bounds, log: BuildLog
) -> Source:
    """Write the files of a directory of a commit into the folder `app`. Raises `BuildError`."""
    submodules = _check_tree(git, bounds, commit, directory)
    git.run(["read-tree", f"{commit}:{directory}"])
    git.run([f"--work-tree={app}", "checkout-index", "--all", "--force"], cwd=app)
    log.line(f"commit {commit}" + (f", directory {directory}" if directory else ""))
    notes = _large_files_left_out(Path(app))
    for note in notes:
        log.problem(note)
    return Source(commit, tuple(notes), submodules)


def _unpacked(request: BuildRequest, log: BuildLog) -> Source:
    """What was pushed or uploaded; it was made by `builders.intake`, and is checked here all the same."""
    bounds = ArchiveBounds(total_bytes=request.bounds.clone_bytes, members=2 * request.bounds.clone_files)
    log.step("Unpacking what was sent" + (f" for {request.ref}" if request.ref else ""))
    with open(request.archive, "rb") as archive:
        unpack(archive, Path(request.app), bounds=bounds)
    log.line(f"commit {request.commit}")
    return Source(request.commit)


def settled(url: GitUrl, request: BuildRequest, log: BuildLog) -> GitUrl:
    """Where the repository is when all redirects were followed. Raises `BuildError`."""
    if url.transport == "file":
        return url
    if url.transport == "ssh":
        check_addresses(url, administrator=request.administrator)
        return url
    settled = follow_redirects(url, administrator=request.administrator)
    if settled.url != url.url:
        log.line(f"redirected to {settled.shown}")
    return settled


def fetch_commit(git: GitCommand, url: GitUrl, ref: str, log: BuildLog) -> str:
    """Fetch a branch, a tag, a commit or the default branch; the full commit. Raises `BuildError`."""
    wanted = ref if is_commit(ref) else _find_ref(git, url, ref, log)
    words = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"]
    try:
        git.run([*words, "--depth=1", "--", url.bare, wanted])
    except GitError as error:
        if "shallow" not in error.said:
            raise _explained(error, url, ref) from error
        log.line("the server gives no single commits; fetching the whole history")
        try:
            git.run([*words, "--", url.bare, wanted])
        except GitError as second:
            raise _explained(second, url, ref) from second
    return git.run(["rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}"]).strip()


def _find_ref(git: GitCommand, url: GitUrl, ref: str, log: BuildLog) -> str:
    """The full name of the branch or tag; a branch wins over a tag of the same name, and the log says so."""
    full = ref if ref.startswith(("refs/heads/", "refs/tags/")) else ""
    patterns = [full] if full else [f"refs/heads/{ref}", f"refs/tags/{ref}"] if ref else ["HEAD"]
    try:
        listed = git.run(["ls-remote", "--", url.bare, *patterns])
    except GitError as error:
        raise _explained(error, url, ref) from error
    names = {line.partition("\t")[2] for line in listed.splitlines()}
    found = [name for name in patterns if name in names]
    if not found:
        raise _no_ref(url, ref)
    if len(found) > 1:
        log.problem(f"'{ref}' is a branch and a tag; taking the branch (refs/tags/{ref} names the tag)")
    return found[0]


def _no_ref(url: GitUrl, ref: str) -> CloneFailed:
    if not ref:
        return CloneFailed(
            f"the repository {url.shown} is empty", hint="Push a commit to its default branch first"
        )
    if re.fullmatch(r"[0-9a-f]{7,39}", ref):
        return CloneFailed(
            f"'{ref}' is no branch or tag of {url.shown}", hint="Give a commit with all its 40 digits"
        )
    return CloneFailed(
        f"{url.shown} has no branch or tag '{ref}'", hint="Check the name; upper and lower case differ"
    )


def _explained(error: GitError, url: GitUrl, ref: str) -> CloneFailed:
    said = error.said.lower()
    for words, message, hint in (
        (("not our ref", "remote ref does not exist", "couldn't find remote ref"),
         f"{url.shown} has no commit {ref}", "It must be on a branch or tag of the repository"),
        (("could not resolve host", "name or service not known"),
         f"the host {url.host} is not known", "Check the URL, and this node's network"),
        (("host key verification failed", "remote host identification has changed"),
         f"{url.host} shows another host key than the first time",
         "If that is right, set the deploy key again: pinode git:key"),
        (("could not read username", "authentication failed", "permission denied", "403"),
         f"{url.shown} does not exist, or wants a password or key", "Check the URL, or put a token into it"),
        (("not found", "does not exist", "does not appear to be a git repo", "404"),
         f"there is no repository {url.shown}", "Check the URL"),
        (("returned error: 30",), f"{url.shown} redirects once more", "Use the address it redirects to"),
        (("timed out", "too slow", "operation too slow"), f"{url.shown} does not answer", "Try again later"),
    ):  # fmt: skip
        if any(word in said for word in words):
            return CloneFailed(message, hint=hint)
    return CloneFailed(
        f"{url.shown} could not be fetched: {error.last_line}", hint="Check the URL, then try again"
    )


def _check_tree(git: GitCommand, bounds: Bounds, commit: str, directory: str) -> tuple[Submodule, ...]:
    """Before a file is written: is the folder there, and are its files few and small? Its submodules."""
    try:
        listing = git.run(["ls-tree", "-r", "-l", "-z", f"{commit}:{directory}"], most_bytes=LISTING_BYTES)
    except GitError as error:
        raise CloneFailed(
            f"the commit has no directory '{directory}'", hint="Check --dir; it is relative to the repository"
        ) from error
    entries = [match for line in listing.split("\0") if (match := TREE_LINE.fullmatch(line))]
    total = sum(int(match["size"]) for match in entries if match["size"] != "-")
    if total > bounds.clone_bytes or len(entries) > bounds.clone_files:
        raise BoundHit(
            "clone",
            f"the commit has {len(entries)} files with {total} bytes; {bounds.clone_files} files with "
            f"{bounds.clone_bytes} bytes are allowed",
            hint="Remove what the app does not need, or raise [limits] clone_bytes",
        )
    _check_names(match["path"] for match in entries)
    links = {match["path"]: match["object"] for match in entries if match["kind"] == "commit"}
    urls = _submodule_urls(git, commit) if links else {}
    prefix = f"{directory}/" if directory else ""
    return tuple(Submodule(path, urls.get(prefix + path, ""), link) for path, link in sorted(links.items()))


def _check_names(paths: Iterable[str]) -> None:
    """Each path once, and none below a file, a link or a submodule. Of two such entries git would lay out the
    one that comes last, and not the one that was looked at.
    """
    # With the lowest of characters between its parts, what is below a path comes right behind it.
    for one, other in pairwise(sorted(path.replace("/", "\0") for path in paths)):
        if f"{other}\0".startswith(f"{one}\0"):
            first, second = (path.replace("\0", "/")[:200] for path in (one, other))
            raise CloneFailed(
                f"the commit holds {first!a} twice"
                if one == other
                else f"the commit holds both {first!a} and {second!a}, so the first is a file and a folder",
                hint="Its tree is damaged, `git fsck` says more; commit these files anew",
            )


def _submodule_urls(git: GitCommand, commit: str) -> dict[str, str]:
    """The URL by path in the repository, as .gitmodules says."""
    try:
        listed = git.run(["config", "--blob", f"{commit}:.gitmodules", "--list", "-z"])
    except GitError:
        return {}
    values = dict(entry.split("\n", 1) for entry in listed.split("\0") if "\n" in entry)
    names = [key.removesuffix(".path") for key in values if key.endswith(".path")]
    return {values[f"{name}.path"]: values.get(f"{name}.url", "") for name in names}


def _large_files_left_out(app: Path) -> list[str]:
    notes = []
    for folder, _, files in os.walk(app):
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink() and path.stat().st_size < LFS_FILE_BYTES and _is_pointer(path):
                notes.append(f"{path.relative_to(app)} is a Git LFS pointer, its content is not fetched")
                if len(notes) == 5:
                    return notes
    return notes


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(LFS_MARK)) == LFS_MARK
