"""From what somebody typed to a build that waits: checked, its credentials sealed, requested once.

Called by the web; the CLI asks through it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from builders.errors import InvalidRequest
from builders.git_url import GitUrl, check_directory, check_git_url, check_ref
from pinode.apps.app import App
from pinode.apps.build import Build
from pinode.apps.commands import RequestBuild
from pinode.apps.registry import Registry
from pinode.apps.source import Origin, Source
from pinode.cluster import Cluster
from pinode.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class HookCall:
    """A git server's call of a webhook; `delivery` is a digest of what it sent."""

    hook: str
    delivery: str


async def request_build(
    cluster: Cluster,
    *,
    app: App,
    git_url: str | None,
    ref: str | None,
    subdirectory: str | None,
    actor: str,
    is_admin: bool,
    called: HookCall | None = None,
) -> int:
    """The id of the new build. Without a URL: what was deployed last, from the same directory of it, or the
    same source once more. `app` is as it was when the caller's right to it was checked.

    Raises `AppNotFound` or `AppDestroyed`, `InvalidInput`, or why the cluster refused.
    """
    cluster.state.registry.same_app(app)
    if git_url is None:
        again = _last_pushed(cluster.state.registry, app.name)
        if again is not None and ref is None and subdirectory is None:
            return await request_build_of_source(
                cluster,
                again[1],
                app=app,
                origin=again[0].origin,
                actor=actor,
                ref=again[0].ref,
            )
        git_url, subdirectory = _last_source(cluster.state.registry, app, subdirectory)
    try:
        url = check_git_url(git_url.strip(), administrator=is_admin)
        command = RequestBuild(
            app=app.name,
            created_index=app.created_index,
            git_url=url.shown,
            ref=check_ref((ref or "").strip()) or None,
            subdirectory=check_directory((subdirectory or "").strip()) or None,
            actor=actor,
            sealed_credentials=_sealed_credentials(url, cluster.seal),
            is_admin=is_admin,
            origin="hook" if called else "git",
            hook=called.hook if called else None,
            delivery=called.delivery if called else None,
        )
    except InvalidRequest as refused:
        raise InvalidInput(f"{refused.message}.", hint=refused.hint) from refused
    build_id: int = await cluster.execute(command)
    return build_id


async def request_build_of_source(
    cluster: Cluster,
    source: Source,
    *,
    app: App,
    origin: Origin,
    actor: str,
    ref: str | None = None,
    subdirectory: str | None = None,
) -> int:
    """The id of the new build, of what this very app was sent. Raises why the cluster refused."""
    command = RequestBuild(
        app=app.name,
        created_index=app.created_index,
        git_url=None,
        ref=ref,
        subdirectory=subdirectory,
        actor=actor,
        origin=origin,
        source=source,
    )
    build_id: int = await cluster.execute(command)
    return build_id


def url_to_fetch(build: Build, reveal: Callable[[bytes], str]) -> str:
    """The build's URL with its credentials in it again; for the child that clones, and for nothing else."""
    if build.git_url is None or build.sealed_credentials is None:
        return build.git_url or ""
    parts = urlsplit(build.git_url)
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{reveal(build.sealed_credentials)}@{host}"
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, parts.fragment))


def _last_pushed(registry: Registry, app: str) -> tuple[Build, Source] | None:
    """The newest build and its source, if it was made from one."""
    newest = next(iter(registry.deploys(app)), None)
    if newest is None or newest.source_digest is None:
        return None
    source = registry.source(app, newest.source_digest)
    return (newest, source) if source is not None else None


def _last_source(registry: Registry, app: App, subdirectory: str | None) -> tuple[str, str | None]:
    if app.git_url is None:
        raise InvalidInput(
            f"no repository of {app.name!r} is known yet.",
            hint=f"Name one: `pinode deploy https://example.org/{app.name}.git -a {app.name}`.",
        )
    builds = registry.deploys(app.name)
    if subdirectory is None and builds:
        subdirectory = builds[0].subdirectory
    return app.git_url, subdirectory


def _sealed_credentials(url: GitUrl, seal: Callable[[str], bytes]) -> bytes | None:
    """What stands before the host in `url` and not in `url.shown`."""
    if url.url == url.shown or "://" not in url.url:
        return None
    userinfo = urlsplit(url.url).netloc.rpartition("@")[0]
    kept = urlsplit(url.shown).netloc.rpartition("@")[0]
    return seal(userinfo) if userinfo and userinfo != kept else None
