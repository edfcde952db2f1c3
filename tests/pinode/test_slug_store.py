"""Slugs on a disk: whole or not there, and what was asked for or an error (checklists 5.3, decision 16)."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from builders.archive import pack
from builders.errors import ArchiveRefused
from pinode.apps.commands import CreateApp, DestroyApp
from pinode.errors import InvalidInput, NotFound, TooLarge
from pinode.operations.tidying import SlugTidying
from pinode.slugs.slug_store import DamagedSlug, SlugStore
from tests.pinode.fake_cluster import SLUG, FakeCluster

CONTENT = b"slug" * 1_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> SlugStore:
    return SlugStore(tmp_path / "slugs", most_bytes=100_000)


def make_slug(tmp_path: Path) -> tuple[Path, str]:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Procfile").write_text("web: true\n")
    packed = pack(tmp_path / "app", tmp_path / "slug.tar.gz", most_bytes=100_000)
    return tmp_path / "slug.tar.gz", packed.sha256


async def test_a_slug_that_no_release_names_goes_after_an_hour_and_the_others_stay(
    tmp_path: Path, store: SlugStore
) -> None:
    cluster = FakeCluster(nodes=["pi1"])
    cluster.add_user("ada")
    cluster.apply(CreateApp(name="blog", owner="ada"))
    cluster.complete_build(cluster.start_build("blog"))
    (tmp_path / "slugs" / f"{SLUG}.slug").touch()
    (tmp_path / "built").write_bytes(CONTENT)
    await store.add(tmp_path / "built")
    (tmp_path / "slugs" / f"{'d' * 64}.damaged").touch()
    times = iter([0.0, 3599.0, 3600.0])
    tidying = SlugTidying(cluster, store, is_caught_up=lambda: True, clock=lambda: next(times))

    await tidying.look()
    await tidying.look()
    assert store.has(DIGEST)
    await tidying.look()

    assert [path.name for path in (tmp_path / "slugs").iterdir()] == [f"{SLUG}.slug"]


async def test_a_slug_whose_last_release_is_gone_goes_at_once_unless_it_was_built_again(
    tmp_path: Path, store: SlugStore
) -> None:
    cluster = FakeCluster(nodes=["pi1"])
    cluster.add_user("ada")
    for app in ("blog", "shop"):
        cluster.apply(CreateApp(name=app, owner="ada"))
        cluster.complete_build(cluster.start_build(app))
    slug = tmp_path / "slugs" / f"{SLUG}.slug"
    slug.touch()
    tidying = SlugTidying(cluster, store, is_caught_up=lambda: True)

    await tidying.look()
    cluster.apply(DestroyApp(name="blog", actor="ada"))
    await tidying.look()
    assert slug.exists(), "another app's release names it"
    cluster.apply(DestroyApp(name="shop", actor="ada"))
    (tmp_path / "again").touch()
    (tmp_path / "again").replace(slug)  # a build that is about to say so has made the same one
    await tidying.look()
    assert slug.exists()

    for app in ("blog", "shop"):
        cluster.apply(CreateApp(name=app, owner="ada"))
        cluster.complete_build(cluster.start_build(app))
    await tidying.look()
    for app in ("blog", "shop"):
        cluster.apply(DestroyApp(name=app, actor="ada"))
    await tidying.look()
    assert not slug.exists()


async def test_without_a_leader_in_reach_no_slug_is_deleted(tmp_path: Path, store: SlugStore) -> None:
    cluster = FakeCluster(nodes=["pi1"])
    times = iter([0.0, 4000.0])
    tidying = SlugTidying(cluster, store, is_caught_up=lambda: True, clock=lambda: next(times))
    (tmp_path / "built").write_bytes(CONTENT)
    await store.add(tmp_path / "built")
    await tidying.look()

    cluster.has_quorum = False
    await tidying.look()
    cluster.has_quorum = True
    await tidying.look()

    assert store.has(DIGEST)


async def test_a_slug_is_kept_under_its_digest_and_can_be_removed(tmp_path: Path, store: SlugStore) -> None:
    (tmp_path / "built").write_bytes(CONTENT)

    kept = await store.add(tmp_path / "built")

    assert (kept.digest, kept.slug_bytes) == (DIGEST, len(CONTENT))
    assert store.path(DIGEST).read_bytes() == CONTENT
    assert [slug.digest for slug in store.slugs()] == [DIGEST]
    assert await store.add(tmp_path / "built", digest=DIGEST) == kept
    assert await store.remove(DIGEST)
    assert not await store.remove(DIGEST)
    assert not store.has(DIGEST)


async def test_a_slug_that_is_not_what_was_said_is_refused_and_leaves_nothing(
    tmp_path: Path, store: SlugStore
) -> None:
    (tmp_path / "built").write_bytes(CONTENT + b"!")
    (tmp_path / "link").symlink_to(tmp_path / "built")
    (tmp_path / "large").write_bytes(bytes(100_001))

    with pytest.raises(DamagedSlug):
        await store.add(tmp_path / "built", digest=DIGEST)
    with pytest.raises(OSError):
        await store.add(tmp_path / "link")
    with pytest.raises(TooLarge):
        await store.add(tmp_path / "large")

    assert not list((tmp_path / "slugs").iterdir())


async def test_a_slug_damaged_on_the_disk_is_noticed_when_it_is_read(
    tmp_path: Path, store: SlugStore
) -> None:
    slug, digest = make_slug(tmp_path)
    await store.add(slug)
    content = bytearray(store.path(digest).read_bytes())
    content[len(content) // 2] ^= 1
    store.path(digest).write_bytes(content)

    with pytest.raises(DamagedSlug):
        await store.unpack(digest, tmp_path / "dyno")

    assert not store.has(digest)
    assert not (tmp_path / "dyno").exists()


async def test_a_slug_is_unpacked_for_its_owner(tmp_path: Path, store: SlugStore) -> None:
    slug, digest = make_slug(tmp_path)
    await store.add(slug)
    owner = 300_001 if os.geteuid() == 0 else os.getuid()

    await store.unpack(digest, tmp_path / "dyno", owner=owner)

    assert (tmp_path / "dyno" / "Procfile").read_text() == "web: true\n"
    assert {path.lstat().st_uid for path in [tmp_path / "dyno", *(tmp_path / "dyno").iterdir()]} == {owner}


async def test_a_hostile_slug_is_refused_although_its_digest_is_right(
    tmp_path: Path, store: SlugStore
) -> None:
    with tarfile.open(tmp_path / "evil", "w:gz") as tar:
        member = tarfile.TarInfo("../escaped")
        tar.addfile(member, io.BytesIO())
    kept = await store.add(tmp_path / "evil")

    with pytest.raises(ArchiveRefused):
        await store.unpack(kept.digest, tmp_path / "dyno")

    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(
    "digest", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "/", "a" * 64 + "\n"]
)
async def test_a_digest_that_is_none_names_no_file(store: SlugStore, digest: str) -> None:
    with pytest.raises(InvalidInput):
        store.path(digest)
    with pytest.raises(InvalidInput):
        await store.open_partial(digest, slug_bytes=1)


async def test_a_slug_that_is_not_here_is_said_to_be_elsewhere(tmp_path: Path, store: SlugStore) -> None:
    with pytest.raises(NotFound):
        await store.verify(DIGEST)
    with pytest.raises(TooLarge):
        await store.open_partial(DIGEST, slug_bytes=100_001)
