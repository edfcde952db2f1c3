"""Slugs that arrive in chunks: what is believed of them after a crash, and what goes at last."""

import hashlib
import os
from pathlib import Path

import pytest

from pinode.apps.commands import CreateApp, DestroyApp
from pinode.operations.tidying import SlugTidying
from pinode.slugs.partial_slug import CHUNK_BYTES, HEADER, ROW, PartialSlug, record_of
from pinode.slugs.slug_store import MOST_PARTIAL, SlugStore
from tests.pinode.fake_cluster import SLUG, FakeCluster

CONTENT = b"".join(bytes([number]) * CHUNK_BYTES for number in range(3)) + b"the end"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def chunk(number: int) -> bytes:
    return CONTENT[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]


@pytest.fixture
def store(tmp_path: Path) -> SlugStore:
    return SlugStore(tmp_path / "slugs")


def file_of(tmp_path: Path) -> Path:
    return tmp_path / f"{DIGEST}.partial"


def begun(tmp_path: Path, *chunks: int) -> Path:
    """A partial slug with these chunks, left behind."""
    partial = PartialSlug(file_of(tmp_path), slug_bytes=len(CONTENT))
    for number in chunks:
        partial.write(number, chunk(number))
    partial.close()
    return partial.path


def believed(tmp_path: Path, *, slug_bytes: int = len(CONTENT)) -> set[int]:
    partial = PartialSlug(file_of(tmp_path), slug_bytes=slug_bytes)
    partial.close()
    return set(partial.from_before)


async def test_a_slug_becomes_visible_when_all_its_chunks_are_there_in_any_order(store: SlugStore) -> None:
    partial = await store.open_partial(DIGEST, slug_bytes=len(CONTENT))
    for number in (3, 0, 2):
        partial.write(number, chunk(number))
    assert not await store.keep_partial(partial, DIGEST)
    assert not store.has(DIGEST)

    partial.write(1, chunk(1))
    assert await store.keep_partial(partial, DIGEST)
    await store.close_partial(partial)

    assert (await store.verify(DIGEST)).slug_bytes == len(CONTENT)
    assert [path.name for path in store.path(DIGEST).parent.iterdir()] == [f"{DIGEST}.slug"]


def test_chunks_are_there_again_after_the_process_ended(tmp_path: Path) -> None:
    begun(tmp_path, 0, 3)

    assert believed(tmp_path) == {0, 3}
    assert believed(tmp_path) == {0, 3}, "and once more"


def test_a_chunk_that_never_reached_the_disk_is_missing_after_a_power_cut(tmp_path: Path) -> None:
    path = begun(tmp_path, 0, 1, 3)
    with path.open("r+b") as file:
        file.seek(CHUNK_BYTES + 4096)
        file.write(bytes(4096))  # a page that was not written

    assert believed(tmp_path) == {0, 3}


@pytest.mark.parametrize(
    ("kept_bytes", "chunks"),
    [
        (0, set()),
        (HEADER.size - 1, set()),
        (HEADER.size + ROW.size, {1}),
        (HEADER.size + 2 * ROW.size - 1, {1}),
    ],
)
def test_a_torn_record_says_what_it_says_whole(tmp_path: Path, kept_bytes: int, chunks: set[int]) -> None:
    path = begun(tmp_path, 1, 2)
    os.truncate(record_of(path), kept_bytes)

    assert believed(tmp_path) == chunks


def test_a_record_of_zeros_or_of_another_size_says_nothing(tmp_path: Path) -> None:
    path = begun(tmp_path, 0)
    assert not believed(tmp_path, slug_bytes=len(CONTENT) + 1)

    record_of(path).write_bytes(bytes(100))

    assert not believed(tmp_path)


def test_nothing_is_written_to_one_that_was_closed(tmp_path: Path) -> None:
    partial = PartialSlug(file_of(tmp_path), slug_bytes=len(CONTENT))
    partial.close()

    partial.write(0, chunk(0))

    assert not believed(tmp_path)


async def test_only_the_newest_that_were_broken_off_stay(tmp_path: Path) -> None:
    folder = tmp_path / "slugs"
    folder.mkdir()
    for number in range(MOST_PARTIAL + 2):
        partial = PartialSlug(folder / f"{number:064x}.partial", slug_bytes=1)
        partial.close()
        os.utime(partial.path, (number, number))
    (folder / f"{'f' * 64}.partial.record").touch()  # its slug is gone
    (folder / "0123.added").touch()

    SlugStore(folder)

    kept = [f"{number:064x}" for number in range(2, MOST_PARTIAL + 2)]
    assert sorted({path.name.partition(".")[0] for path in folder.iterdir()}) == kept
    assert len(list(folder.iterdir())) == 2 * MOST_PARTIAL


async def test_what_came_of_a_slug_that_no_release_names_any_more_goes(store: SlugStore) -> None:
    cluster = FakeCluster(nodes=["pi1"])
    cluster.add_user("ada")
    cluster.apply(CreateApp(name="blog", owner="ada"))
    cluster.complete_build(cluster.start_build("blog"))
    tidying = SlugTidying(cluster, store, is_caught_up=lambda: True)
    partial = await store.open_partial(SLUG, slug_bytes=1)
    assert not await store.remove(SLUG)
    assert partial.path.exists(), "it is being fetched"
    await store.close_partial(partial)
    await tidying.look()
    assert partial.path.exists(), "a release names it"

    cluster.apply(DestroyApp(name="blog", actor="ada"))
    await tidying.look()

    assert not list(partial.path.parent.iterdir())
