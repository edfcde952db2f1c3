"""What the API says of an app and its parts, as plain values; the pages show the same."""

from typing import Any

from pinode.apps.app import App
from pinode.apps.build import Build, Slug
from pinode.apps.checks import RELEASE_TYPE
from pinode.apps.release import Release
from pinode.apps.slug_kinds import kind_of
from pinode.cluster import Cluster
from pinode.operations.app_names import has_name
from pinode.operations.app_view import DynoView, app_state, building
from pinode.operations.missing_slugs import missing_slugs
from replicated_queue.queue.job import JobView, TopicStats


def app_document(cluster: Cluster, app: App) -> dict[str, Any]:
    """An app as its owner sees it, without config values."""
    urls = app_urls(cluster, app)
    current = building(cluster, app.name)
    return {
        "name": app.name,
        "owner": app.owner,
        "git_url": app.git_url,
        "state": app_state(cluster, app),
        "url": urls[0],
        "urls": urls,
        "name_url": name_url(cluster, app),
        "live_version": app.live_version,
        "last_version": app.last_version,
        "building": current.id if current is not None else None,
        "formation": dict(app.formation),
        "maintenance": app.in_maintenance,
        "stopped": app.is_stopped,
        "missing_slugs": missing_slugs(cluster, app),
        "created_at_ms": app.created_at_ms,
        "age_seconds": _age(cluster, app.created_at_ms),
    }


def app_urls(cluster: Cluster, app: App) -> list[str]:
    """Where the app answers: its port on this node, on the others that live, then its name if it has one."""
    listen = cluster.settings.listen
    port = listen.app_ports.first + app.port_index
    nodes = sorted(cluster.nodes(), key=lambda node: (node.node_id != cluster.node_id, node.state != "alive"))
    hosts = [node.host for node in nodes if node.state == "alive" or node.node_id == cluster.node_id]
    by_port = [f"http://{f'[{host}]' if ':' in host else host}:{port}/" for host in hosts]
    by_name = name_url(cluster, app)
    return by_port if by_name is None else [*by_port, by_name]


def name_url(cluster: Cluster, app: App) -> str | None:
    """Where the app answers by host name, if that leads to the nodes."""
    if not has_name(cluster, app.name):
        return None
    return f"http://{app.name}.{cluster.settings.apps.domain}:{cluster.settings.listen.apps.port}/"


def build_document(cluster: Cluster, build: Build) -> dict[str, Any]:
    """A build and what came of it."""
    node = cluster.node(build.node_id) if build.node_id else None
    ended = build.finished_at_ms
    if ended is None and build.state == "building":
        ended = cluster.now_ms
    return {
        "id": build.id,
        "app": build.app,
        "state": build.state,
        "git_url": build.git_url,
        "origin": build.origin,
        "ref": build.ref,
        "dir": build.subdirectory,
        "commit": build.commit,
        "version": build.version,
        "node": node.name if node is not None else build.node_id,
        "variant_of": build.variant_of,
        "for_nodes": _kind(build),
        "failure": build.failure,
        "cancelling": build.cancelled_by is not None and not build.is_finished,
        "created_by": build.created_by,
        "created_at_ms": build.created_at_ms,
        "age_seconds": _age(cluster, build.created_at_ms),
        "duration_seconds": None
        if build.started_at_ms is None or ended is None
        else max(0.0, (ended - build.started_at_ms) / 1000),
    }


def release_document(cluster: Cluster, release: Release) -> dict[str, Any]:
    """A release, without its config."""
    return {
        "version": release.version,
        "state": release.state,
        "description": release.description,
        "commit": release.commit,
        "build": release.build_id,
        "slug": release.slug_digest,
        "slugs": [slug_document(slug) for slug in cluster.state.registry.slugs_of(release)],
        "process_types": dict(release.process_types),
        "command_state": release.command_state if RELEASE_TYPE in release.process_types else None,
        "failure": release.failure,
        "last_lines": list(release.last_lines),
        "has_served": release.has_served,
        "created_by": release.created_by,
        "created_at_ms": release.created_at_ms,
        "age_seconds": _age(cluster, release.created_at_ms),
    }


def slug_document(slug: Slug) -> dict[str, Any]:
    """One of a release's slugs, and what a node must have to run it."""
    return {
        "digest": slug.digest,
        "bytes": slug.slug_bytes,
        "arch": slug.arch.split(","),
        "interpreter": slug.interpreter,
        "copies": len(slug.holders),
    }


def dyno_document(cluster: Cluster, dyno: DynoView) -> dict[str, Any]:
    """A dyno: where it should run and what was last heard of it."""
    placement, report = dyno.placement, dyno.report
    return {
        "name": placement.dyno,
        "process_type": placement.process_type,
        "state": dyno.state,
        "version": placement.version,
        "node": dyno.node_name,
        "placement": placement.number,
        "restarts": report.restarts if report is not None else 0,
        "exit_code": report.exit_code if report is not None else None,
        "detail": dyno.detail,
        "last_lines": list(report.last_lines) if report is not None else [],
        "for_seconds": _age(cluster, report.since_ms) if report is not None and report.since_ms else None,
    }


def topic_document(name: str, stats: TopicStats) -> dict[str, Any]:
    """A topic: how many jobs are in which state, what happened so far, and what is set for it."""
    return {
        "name": name,
        "ready": stats.ready,
        "delayed": stats.delayed,
        "leased": stats.leased,
        "buried": stats.buried,
        "used_bytes": stats.used_bytes,
        "oldest_ready_seconds": stats.oldest_ready_ms / 1000,
        "paused_seconds": stats.pause_left_ms / 1000,
        "draining": stats.is_draining,
        "max_jobs": stats.max_jobs or None,
        "max_bytes": stats.max_bytes or None,
        "ageing_seconds": stats.ageing_ms / 1000 or None,
        "total_put": stats.total_put,
        "total_succeeded": stats.total_succeeded,
        "total_failed": stats.total_failed,
        "total_buried": stats.total_buried,
        "total_cancelled": stats.total_cancelled,
    }


def job_document(job: JobView, *, now_ms: int) -> dict[str, Any]:
    """A job as people see it; the token is its holder's alone."""
    return {
        "id": job.id,
        "topic": job.topic,
        "state": job.state,
        "priority": job.priority,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "needs": list(job.needs),
        "worker": job.worker or None,
        "reasons": list(job.reasons),
        "created_at_ms": job.created_ms,
        "age_seconds": max(0, now_ms - job.created_ms) / 1000,
        **bytes_document("data", job.data),
        **bytes_document("result", job.result),
    }


def bytes_document(name: str, value: bytes) -> dict[str, str]:
    """Bytes in JSON: as text where they are UTF-8, else `<name>_base64`."""
    try:
        return {name: value.decode("utf-8")}
    except UnicodeDecodeError:
        import base64

        return {f"{name}_base64": base64.b64encode(value).decode("ascii")}


def _kind(build: Build) -> str | None:
    """The nodes that a further slug is built for; None of a build that somebody asked for."""
    return kind_of(build.arch, build.interpreters) if build.variant_of is not None else None


def _age(cluster: Cluster, since_ms: int) -> float:
    return max(0.0, (cluster.now_ms - since_ms) / 1000)
