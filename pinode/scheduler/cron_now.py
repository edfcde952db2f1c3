"""A run of cron because somebody asks for it, beside those of the schedule."""

from pinode.apps.app import App
from pinode.apps.commands import FireCron
from pinode.apps.cron import CronRun
from pinode.apps.cron_errors import CronEntryNotFound, CronRunNotFound
from pinode.cluster import Cluster
from pinode.errors import Conflict
from pinode.scheduler.node_choice import NodeChoice


async def run_now(cluster: Cluster, app: App, ordinal: int, *, actor: str) -> CronRun:
    """Fire entry `ordinal` of the live release. Raises `Conflict` where no node can run it, or why not."""
    registry = cluster.state.registry
    release = registry.live_release(app.name)
    if release is None or not 1 <= ordinal <= len(release.cron):
        raise CronEntryNotFound(app=app.name, ordinal=ordinal, known=len(release.cron) if release else 0)
    runs = [run.placement for run in registry.open_cron_runs()]
    choice = NodeChoice(cluster.nodes(), (*registry.placements(), *runs))
    node_id = choice.choose(release, registry.slugs_of(release))
    if node_id is None:
        raise Conflict(f"no node can run {app.name!r} now.", hint="`pinode nodes` shows how they are.")
    command = FireCron(
        app=app.name,
        version=release.version,
        ordinal=ordinal,
        node_id=node_id,
        actor=actor,
        created_index=app.created_index,
    )
    number: int = await cluster.execute(command)
    run = cluster.state.registry.cron_run(number)
    if run is None:  # ended, and pushed out by newer ones, before this node could look
        raise CronRunNotFound(number=number)
    return run
