"""Why a dyno is as it is: what is agreed about it, what is observed, and what can be done."""

from collections.abc import Iterator, Sequence

from pinode.apps.app import App
from pinode.apps.build import Slug
from pinode.apps.checks import RELEASE_TYPE
from pinode.apps.observed import NodeView
from pinode.apps.release import Release
from pinode.apps.slug_kinds import kind_of, needs_of, slug_for
from pinode.cluster import Cluster
from pinode.operations.app_view import DynoView, dynos

SAYS = {
    "up": "it is up",
    "waiting": "its node has not said anything about it yet",
    "fetching": "its slug is being brought to that node and laid out",
    "starting": "its process has begun; it does not answer yet",
    "stopping": "it left the routes and is ending",
    "crashed": "it ended and will be started again",
    "exited": "it ended with status 0 and will be started again",
    "failed": "it is tried again every five minutes, or at once with `pinode ps:restart {dyno} -a {app}`",
    "unknown": "its node is not in reach; if that lasts, the dyno moves to another node",
}


def why(cluster: Cluster, app: App, dyno: str) -> list[str]:
    """Return the reasons, a sentence each, the most important last; nothing when there is no such dyno."""
    rows = [row for row in dynos(cluster, app.name) if row.placement.dyno == dyno]
    if rows:
        return [line for row in rows for line in _of_a_row(cluster, app, row)]
    return list(_of_no_row(cluster, app, dyno))


def _of_a_row(cluster: Cluster, app: App, row: DynoView) -> Iterator[str]:
    placement, report = row.placement, row.report
    release = cluster.state.registry.release(app.name, placement.version)
    state = release.state if release is not None else "gone"
    yield f"{placement.dyno} of v{placement.version} ({state}) is placed on {row.node_name}."
    if placement.process_type == RELEASE_TYPE:
        yield "It is the release command: it runs once, before the release goes live."
    if placement.is_to_restart:
        yield "Somebody asked for its restart; its turn comes when no other dyno of its type is starting."
    if placement.is_moving:
        yield "Its node is to be emptied: another one starts elsewhere, and this one ends when that is up."
    if report is not None and report.restarts:
        status = f"; its last exit status was {report.exit_code}" if report.exit_code is not None else ""
        yield f"It was started again {report.restarts} times{status}."
    said = SAYS.get(row.state, f"it is {row.state}").format(dyno=placement.dyno, app=app.name)
    yield f"{said[0].upper()}{said[1:]}{f': {row.detail}' if row.detail else '.'}"
    for line in report.last_lines if report is not None else ():
        yield f"It said: {line}"


def _of_no_row(cluster: Cluster, app: App, dyno: str) -> Iterator[str]:
    process_type, _, ordinal = dyno.partition(".")
    registry = cluster.state.registry
    release = registry.pending_release(app.name) or registry.live_release(app.name)
    if release is None:
        yield from _of_no_release(cluster, app)
        return
    if process_type not in release.process_types or not ordinal.isdecimal():
        return
    wanted = app.formation.get(process_type, 0)
    if process_type == RELEASE_TYPE:
        return
    if int(ordinal) > wanted:
        scale = f"pinode ps:scale {process_type}={ordinal} -a {app.name}"
        yield f"The formation wants {wanted} of {process_type}: {scale}"
    elif app.is_stopped:
        yield f"Somebody stopped the app: pinode ps:restart -a {app.name}"
    else:
        yield "The formation wants it, and it is not placed yet. What stands against each node:"
        slugs = registry.slugs_of(release)
        for node in cluster.nodes():
            yield f"{node.name}: {_against(node, release, slugs)}."


def _of_no_release(cluster: Cluster, app: App) -> Iterator[str]:
    """Nothing runs, and nothing is to."""
    newest = cluster.state.registry.newest_release(app.name)
    build = next(iter(cluster.state.registry.builds(app.name)), None)
    if build is not None and build.state == "failed":
        yield f"Nothing of {app.name} runs: build {build.id} failed: {build.failure}"
    elif newest is not None and newest.state == "failed":
        yield f"Nothing of {app.name} runs: v{newest.version} failed: {newest.failure}"
        for line in newest.last_lines:
            yield f"It said: {line}"


def _against(node: NodeView, release: Release, slugs: Sequence[Slug]) -> str:
    if node.state != "alive":
        return f"it is {node.state}"
    if "deploy" not in node.roles:
        return "its roles do not name deploy"
    if not node.takes("deploy"):
        return f"it is {node.availability} and takes nothing new"
    if not slugs:
        return f"the slug of v{release.version} is not known"
    if slug_for(slugs, node) is None:
        has = kind_of(node.arch, node.interpreters)
        needed = "; one needs ".join(needs_of(slug) for slug in slugs)
        return f"no slug of v{release.version} runs on it: it has {has}; one needs {needed}"
    return "nothing; the leader is about to place it"
