"""What is pushed or uploaded becomes a source: one archive, the same for the same files."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from builders.archive import ArchiveBounds, unpack
from builders.errors import InvalidRequest
from builders.intake import take_in
from builders.intake_request import (
    SOURCE_FILE,
    Intake,
    IntakeOutcome,
    IntakeRequest,
    decode_intake_outcome,
    decode_intake_request,
    encode_intake_outcome,
    encode_intake_request,
)
from builders.request import Bounds, BuildFailure, BuildRequest
from builders.source import fetch_source
from tests.builders.repositories import Repository, make_log, make_repository
from tests.builders.test_archive import archive_of, entry

FILES = {"app.py": "print()", "services/web/Procfile": "web: ./serve\n", "README": "hello"}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository(tmp_path / "r", FILES)


def pack_of(repository: Repository, wanted: str, *known: str) -> bytes:
    """What `git push` would send to a repository that has the `known` commits and takes no thin packs."""
    revisions = "\n".join([wanted, *(f"^{commit}" for commit in known)]) + "\n"
    return subprocess.run(
        ["git", "pack-objects", "--stdout", "--revs", "-q"],
        cwd=repository.path,
        input=revisions.encode(),
        check=True,
        capture_output=True,
    ).stdout


class Intakes:
    """Intakes in folders of their own, and what they said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.count = 0

    def run(self, given: bytes, **fields: object) -> IntakeOutcome:
        self.count += 1
        here = self.folder / f"intake-{self.count}"
        folders = {name: here / name for name in ("work", "app", "output")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        (folders["work"] / "given").write_bytes(given)
        request = IntakeRequest(
            given=str(folders["work"] / "given"),
            **{name: str(folder) for name, folder in folders.items()},  # type: ignore[arg-type]
            **fields,  # type: ignore[arg-type]
        )
        log, self.lines = make_log()
        return take_in(request, log)

    @property
    def source(self) -> Path:
        return self.folder / f"intake-{self.count}" / "output" / SOURCE_FILE

    @property
    def objects(self) -> str:
        return str(self.folder / f"intake-{self.count}" / "work" / "repository.git" / "objects")

    def files(self) -> dict[str, str]:
        into = self.folder / f"files-{self.count}"
        with self.source.open("rb") as archive:
            unpack(archive, into, bounds=ArchiveBounds(total_bytes=10**6))
        return {str(path.relative_to(into)): path.read_text() for path in into.rglob("*") if path.is_file()}


@pytest.fixture
def intakes(tmp_path: Path) -> Intakes:
    return Intakes(tmp_path)


def failure(outcome: IntakeOutcome) -> BuildFailure:
    assert isinstance(outcome, BuildFailure)
    return outcome


def test_a_pushed_commit_becomes_a_source_of_its_files(repository: Repository, intakes: Intakes) -> None:
    commit = repository.git("rev-parse", "HEAD")

    outcome = intakes.run(pack_of(repository, commit), kind="push", commit=commit)

    assert isinstance(outcome, Intake)
    assert (outcome.commit, intakes.files()) == (commit, FILES)
    assert f"commit {commit}" in "\n".join(intakes.lines)


def test_a_pushed_tag_stands_for_its_commit(repository: Repository, intakes: Intakes) -> None:
    repository.git("tag", "-a", "v1", "-m", "one")
    tag = repository.git("rev-parse", "v1")

    outcome = intakes.run(pack_of(repository, tag), kind="push", commit=tag)

    assert isinstance(outcome, Intake) and outcome.commit == repository.git("rev-parse", "HEAD")


def test_a_second_push_builds_on_the_objects_of_the_first(repository: Repository, intakes: Intakes) -> None:
    first = repository.git("rev-parse", "HEAD")
    intakes.run(pack_of(repository, first), kind="push", commit=first)
    objects = intakes.objects
    second = repository.commit({"README": "changed"})
    small = pack_of(repository, second, first)

    alone = intakes.run(small, kind="push", commit=second)
    outcome = intakes.run(small, kind="push", commit=second, objects=objects)

    assert failure(alone).code == "incomplete"
    assert isinstance(outcome, Intake)
    assert intakes.files() == {**FILES, "README": "changed"}


def test_a_push_of_what_is_there_already_needs_no_objects(repository: Repository, intakes: Intakes) -> None:
    commit = repository.git("rev-parse", "HEAD")
    first = intakes.run(pack_of(repository, commit), kind="push", commit=commit)

    again = intakes.run(
        pack_of(repository, commit, commit), kind="push", commit=commit, objects=intakes.objects
    )

    assert again == first


def test_a_subdirectory_alone_becomes_the_source(repository: Repository, intakes: Intakes) -> None:
    commit = repository.git("rev-parse", "HEAD")

    intakes.run(pack_of(repository, commit), kind="push", commit=commit, directory="services/web")

    assert intakes.files() == {"Procfile": "web: ./serve\n"}


def test_the_same_files_are_the_same_source_however_they_came(
    repository: Repository, intakes: Intakes
) -> None:
    commit = repository.git("rev-parse", "HEAD")
    sent = subprocess.run(["tar", "cz", "."], cwd=repository.path, check=True, capture_output=True).stdout

    pushed = intakes.run(pack_of(repository, commit), kind="push", commit=commit)
    uploaded = intakes.run(sent, kind="upload")

    assert isinstance(pushed, Intake) and isinstance(uploaded, Intake)
    assert pushed.sha256 == uploaded.sha256 == uploaded.commit


def test_a_directory_of_an_upload_alone_becomes_the_source(intakes: Intakes) -> None:
    sent = archive_of(entry("a/b/x", content=b"x"), entry("y", content=b"y")).getvalue()

    intakes.run(sent, kind="upload", directory="a/b")

    assert intakes.files() == {"x": "x"}


@pytest.mark.parametrize("directory", ["nowhere", "link"])
def test_a_directory_that_is_not_in_an_upload_is_named(intakes: Intakes, directory: str) -> None:
    sent = archive_of(entry("x", content=b"x"), entry("link", tarfile.SYMTYPE, "x")).getvalue()

    assert directory in failure(intakes.run(sent, kind="upload", directory=directory)).message


def test_what_is_no_pack_is_refused(repository: Repository, intakes: Intakes) -> None:
    commit = repository.git("rev-parse", "HEAD")
    whole = pack_of(repository, commit)

    for given in (b"", b"PACK", b"nonsense" * 10, whole[:-10], whole[:50] + b"\0\0\0" + whole[53:]):
        assert failure(intakes.run(given, kind="push", commit=commit)).code in ("invalid", "incomplete")


def test_a_blob_or_a_tree_is_nothing_to_build(repository: Repository, intakes: Intakes) -> None:
    tree = repository.git("rev-parse", "HEAD^{tree}")

    assert "no commit" in failure(intakes.run(pack_of(repository, tree), kind="push", commit=tree)).message


def test_hooks_and_settings_cannot_be_pushed(tmp_path: Path, intakes: Intakes) -> None:
    """git itself makes no such tree; somebody else's tool may."""
    repository = make_repository(tmp_path / "evil", {"x": "x"})
    blob = repository.git("rev-parse", "HEAD:x")
    inner = subprocess.run(
        ["git", "mktree"], cwd=repository.path, input=f"100644 blob {blob}\tconfig\n".encode(),
        check=True, capture_output=True,
    ).stdout.decode().strip()  # fmt: skip
    for name in (".git", ".GIT", "..", "git~1"):
        line = f"040000 tree {inner}\t{name}\n".encode()
        made = subprocess.run(
            ["git", "mktree"], cwd=repository.path, input=line, check=True, capture_output=True
        )
        commit = repository.git("commit-tree", made.stdout.decode().strip(), "-m", "evil")

        outcome = intakes.run(pack_of(repository, commit), kind="push", commit=commit)

        if isinstance(outcome, Intake):  # a name that means something on other systems only
            assert name == "git~1"
        else:
            assert outcome.code in ("clone_failed", "incomplete")


def test_too_much_is_refused_by_name(repository: Repository, intakes: Intakes) -> None:
    bounds = Bounds(clone_bytes=10_000, clone_files=10)
    repository.commit({"zeros": bytes(20_000)})
    commit = repository.git("rev-parse", "HEAD")
    bomb = archive_of(entry("zeros", content=bytes(20_000))).getvalue()

    pushed = intakes.run(pack_of(repository, commit), kind="push", commit=commit, bounds=bounds)
    uploaded = intakes.run(bomb, kind="upload", bounds=bounds)

    assert failure(pushed).bound == "clone"
    assert "grows past" in failure(uploaded).message


def test_a_build_unpacks_its_source_instead_of_fetching(
    tmp_path: Path, repository: Repository, intakes: Intakes
) -> None:
    commit = repository.git("rev-parse", "HEAD")
    intakes.run(pack_of(repository, commit), kind="push", commit=commit)
    (tmp_path / "app").mkdir()
    log, _ = make_log()

    source = fetch_source(
        BuildRequest(archive=str(intakes.source), commit=commit, app=str(tmp_path / "app")), log
    )

    assert source.commit == commit
    assert (tmp_path / "app" / "services" / "web" / "Procfile").exists()


@pytest.mark.parametrize("commit", ["", "HEAD", "--all", "c" * 39, "c" * 41])
def test_a_commit_that_is_none_never_reaches_git(commit: str) -> None:
    with pytest.raises(InvalidRequest):
        decode_intake_request(encode_intake_request(IntakeRequest(kind="push", given="x", commit=commit)))


@pytest.mark.parametrize(
    "outcome",
    [
        Intake(sha256="1" * 64, source_bytes=3, commit="c" * 40),
        BuildFailure(code="invalid", message="no", hint="yes"),
    ],
)
def test_an_outcome_comes_back_as_it_was(outcome: IntakeOutcome) -> None:
    assert decode_intake_outcome(encode_intake_outcome(outcome)) == outcome


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{", b'{"ok": true}', b'{"ok": true, "sha256": "x", "commit": "y", "source_bytes": 1}',
        b'{"ok": false, "code": 1}', b"[" * 100_000, b'{"ok": true, "x": "' + b"x" * 70_000 + b'"}',
        encode_intake_outcome(Intake(sha256="1" * 64, source_bytes=-1, commit="c" * 40)),
    ],
)  # fmt: skip
def test_an_outcome_that_strangers_wrote_is_not_believed(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_intake_outcome(data)
