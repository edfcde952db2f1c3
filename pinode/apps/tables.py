"""The registry's records, by their keys, with the bytes they take."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Generic, TypeVar

from pinode.apps.app import App
from pinode.apps.build import Build, Slug
from pinode.apps.cron import CronRun
from pinode.apps.errors import AppDestroyed, AppNotFound, RegistryFull, ReleaseNotFound
from pinode.apps.hook import Hook
from pinode.apps.placement import Placement
from pinode.apps.records import pack, size_of, to_plain
from pinode.apps.release import Release
from pinode.apps.source import Source

REGISTRY_BYTES = 16 * 1024 * 1024
K = TypeVar("K", str, int, tuple[str, int], tuple[str, str])
V = TypeVar("V")


class Table(Generic[K, V]):
    """Records of one kind. Iterates in the order of keys, which is the same on every replica."""

    def __init__(self, kind: type[V], app_of: Callable[[V], str] | None = None) -> None:
        """Records of class `kind`. With `app_of`, `of` finds those of one app without looking at others."""
        self.kind = kind
        self._rows: dict[K, V] = {}
        self._sizes: dict[K, int] = {}
        self._order: list[K] | None = None  # sorted keys, made when asked for
        self._app_of = app_of
        self._keys_of: dict[str, set[K]] = {}
        self.size_bytes = 0

    def put(self, key: K, row: V) -> None:
        """Add the record, or put it in place of the one that is there, which is of the same app."""
        size_bytes = size_of(row)
        self.size_bytes += size_bytes - self._sizes.get(key, 0)
        if key not in self._rows:
            self._order = None
            if self._app_of is not None:
                self._keys_of.setdefault(self._app_of(row), set()).add(key)
        self._rows[key] = row
        self._sizes[key] = size_bytes

    def drop(self, key: K) -> None:
        """Remove a record that is there."""
        row = self._rows.pop(key)
        self.size_bytes -= self._sizes.pop(key)
        self._order = None
        if self._app_of is not None:
            keys = self._keys_of[self._app_of(row)]
            keys.remove(key)
            if not keys:
                del self._keys_of[self._app_of(row)]

    def get(self, key: K) -> V | None:
        """The record, if there is one."""
        return self._rows.get(key)

    def of(self, app: str) -> list[V]:
        """Records of one app, in the order of keys."""
        return [self._rows[key] for key in self.keys_of(app)]

    def keys_of(self, app: str) -> list[K]:
        """Keys of the records of one app, in order."""
        return sorted(self._keys_of.get(app, ()))

    def items(self) -> list[tuple[K, V]]:
        """Keys and records, as they are at the call."""
        return list(self._rows.items())

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[V]:
        if self._order is None:
            self._order = sorted(self._rows)
        return iter([self._rows[key] for key in self._order])


class Tables:
    """All that is agreed about apps. Questions that more than one change asks are answered here."""

    def __init__(self) -> None:
        self.apps: Table[str, App] = Table(App)
        self.builds: Table[int, Build] = Table(Build, lambda build: build.app)
        self.releases: Table[tuple[str, int], Release] = Table(Release, lambda release: release.app)
        self.placements: Table[int, Placement] = Table(Placement, lambda placement: placement.app)
        self.slugs: Table[str, Slug] = Table(Slug)
        self.sources: Table[tuple[str, str], Source] = Table(Source, lambda source: source.app)
        self.hooks: Table[tuple[str, str], Hook] = Table(Hook, lambda hook: hook.app)
        self.cron_runs: Table[int, CronRun] = Table(CronRun, lambda run: run.app)
        self._open_builds: dict[int, Build] = {}  # by id; asked for at every change of a job
        self._builds_of_jobs: dict[int, Build] = {}

    def app(self, name: str, *, created_index: int = 0) -> App:
        """Raises `AppNotFound`, and `AppDestroyed` where it is not the one created there (0: whichever)."""
        app = self.apps.get(name)
        if app is None:
            raise AppNotFound(app=name)
        if created_index not in (0, app.created_index):
            raise AppDestroyed(app=name)
        return app

    def release(self, app: str, version: int) -> Release:
        """Raises `AppNotFound` or `ReleaseNotFound`."""
        release = self.releases.get((self.app(app).name, version))
        if release is None:
            raise ReleaseNotFound(app=app, version=version)
        return release

    def builds_of(self, app: str) -> list[Build]:
        """Oldest first."""
        return self.builds.of(app)

    def deploys_of(self, app: str) -> list[Build]:
        """Those that somebody asked for, oldest first: a variant the cluster builds of itself."""
        return [build for build in self.builds.of(app) if build.variant_of is None]

    def builds_in_use(self, app: str) -> set[int | None]:
        """Ids of builds whose release is live or pending: more slugs may be made as they were."""
        return {release.build_id for release in self.releases.of(app) if release.state in ("pending", "live")}

    def put_build(self, build: Build) -> None:
        """Add or change a build."""
        self._close(build.id)
        self.builds.put(build.id, build)
        if not build.is_finished:
            self._open_builds[build.id] = build
            if build.job_id is not None:
                self._builds_of_jobs[build.job_id] = build

    def drop_build(self, build_id: int) -> None:
        """Forget a build."""
        self._close(build_id)
        self.builds.drop(build_id)

    def unfinished_builds(self) -> list[Build]:
        """Of all apps, oldest first."""
        return [self._open_builds[build_id] for build_id in sorted(self._open_builds)]

    def build_of_job(self, job_id: int) -> Build | None:
        """The unfinished build behind a job."""
        return self._builds_of_jobs.get(job_id)

    def releases_of(self, app: str) -> list[Release]:
        """Oldest first."""
        return self.releases.of(app)

    def placements_of(self, app: str) -> list[Placement]:
        """By number."""
        return self.placements.of(app)

    def dynos_of_owner(self, owner: str) -> int:
        """How many dynos the formations of all the owner's apps want."""
        return sum(sum(app.formation.values()) for app in self.apps if app.owner == owner)

    def change_app(self, app: str, **fields: object) -> App:
        """Put the app back with some fields changed."""
        changed = replace(self.app(app), **fields)  # type: ignore[arg-type]
        self.apps.put(app, changed)
        return changed

    def rename(self, app: str, name: str) -> None:
        """Have every record of the app name it `name`, in its key as well; of a table that is added, too."""
        for kind, table in self.all().items():
            for key in table.keys_of(app):
                record: Any = table.get(key)
                if kind == "builds":
                    self.drop_build(key)
                else:
                    table.drop(key)
                self.put_carried(
                    kind, (name, *key[1:]) if isinstance(key, tuple) else key, replace(record, app=name)
                )

    @property
    def size_bytes(self) -> int:
        """What all records take, encoded."""
        return sum(table.size_bytes for table in self.all().values())

    def check_room(self) -> None:
        """Raises `RegistryFull` at the bound.

        What only finishes or removes something is never refused by it.
        """
        if self.size_bytes >= REGISTRY_BYTES:
            raise RegistryFull(bound_bytes=REGISTRY_BYTES)

    def _close(self, build_id: int) -> None:
        build = self._open_builds.pop(build_id, None)
        if build is not None and build.job_id is not None:
            del self._builds_of_jobs[build.job_id]

    def digest(self) -> bytes:
        """Hash over all records in the order of their keys."""
        hashed = hashlib.sha256()
        for table in self.all().values():
            hashed.update(pack(len(table)))
            for row in table:
                hashed.update(pack(to_plain(row)))
        return hashed.digest()

    def all(self) -> dict[str, Table[Any, Any]]:
        """Every table by its name: one that is added is hashed, counted and carried unasked."""
        return {name: table for name, table in vars(self).items() if isinstance(table, Table)}

    def put_carried(self, name: str, key: Any, row: Any) -> None:
        """A row that a snapshot has carried, with all that follows from it."""
        if name == "builds":
            self.put_build(row)
        else:
            self.all()[name].put(key, row)
