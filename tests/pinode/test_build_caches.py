"""What builds keep for the next ones is bounded, and the longest unused goes first (checklist 4.10)."""

import os
from pathlib import Path

from pinode.deploy.build_caches import BuildCaches
from pinode.deploy.build_usage import usage

ENTRY_BYTES = 100_000


def keep(path: Path, *, used_at: int) -> None:
    """An entry of a tool's cache: a folder with a file."""
    path.mkdir(parents=True)
    (path / "content").write_bytes(os.urandom(ENTRY_BYTES))
    os.utime(path, (used_at, used_at))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_five_hundred_builds_stay_within_the_bound_and_what_was_used_last_is_still_there(
    tmp_path: Path,
) -> None:
    caches = BuildCaches(tmp_path, most_bytes=20 * ENTRY_BYTES)

    for build in range(500):
        keep(caches.shared / "uv" / "archive-v0" / f"{build}", used_at=build)
        caches.trim()
        assert usage(tmp_path)[0] <= 22 * ENTRY_BYTES

    kept = names(caches.shared / "uv" / "archive-v0")
    assert {f"{build}" for build in range(485, 500)} <= kept
    assert len(kept) <= 20


def test_an_apps_own_cache_goes_as_a_whole_when_it_is_the_longest_unused(tmp_path: Path) -> None:
    caches = BuildCaches(tmp_path, most_bytes=5 * ENTRY_BYTES)
    for number, app in enumerate(("old", "new")):
        for part in range(2):
            keep(caches.of_app(app) / f"{part}", used_at=number)
        os.utime(caches.of_app(app), (number, number))
    keep(caches.shared / "go" / "build" / "00" / "entry", used_at=5)

    caches.trim()

    assert names(tmp_path / "apps") == {"new"}
    assert names(caches.shared / "go" / "build" / "00") == {"entry"}


def test_under_the_bound_nothing_is_taken_away(tmp_path: Path) -> None:
    caches = BuildCaches(tmp_path, most_bytes=100 * ENTRY_BYTES)
    keep(caches.shared / "uv" / "archive-v0" / "a", used_at=0)

    caches.trim()

    assert names(caches.shared / "uv" / "archive-v0") == {"a"}


def test_a_full_disk_gets_back_what_it_needs_and_the_rest_stays(tmp_path: Path) -> None:
    caches = BuildCaches(tmp_path, most_bytes=100 * ENTRY_BYTES)
    for number in range(10):
        keep(caches.shared / "uv" / "archive-v0" / f"{number}", used_at=number)

    caches.free(3 * ENTRY_BYTES)

    kept = names(caches.shared / "uv" / "archive-v0")
    assert {"4", "5", "6", "7", "8", "9"} <= kept
    assert not kept & {"0", "1"}


def test_links_that_an_app_left_in_its_cache_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    keep(outside / "data", used_at=0)
    caches = BuildCaches(tmp_path / "caches", most_bytes=1)
    keep(caches.of_app("evil") / "x", used_at=0)
    (caches.of_app("evil") / "link").symlink_to(outside)

    caches.trim()
    caches.forget(())

    assert (outside / "data" / "content").exists()
    assert not caches.of_app("evil").exists()
