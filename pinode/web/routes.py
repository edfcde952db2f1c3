"""All that is answered, and to whom: one table, for the server and for the tests of authorisation."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from pinode.web import (
    account_pages,
    app_api,
    app_pages,
    build_api,
    cluster_api,
    cluster_pages,
    cron_api,
    cron_pages,
    deploy_key_api,
    dyno_api,
    dyno_pages,
    git_api,
    hooks_api,
    membership_api,
    pages,
    people_api,
    people_pages,
    queue_api,
    queue_pages,
    release_api,
    run_api,
    tokens_api,
    topic_api,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# public: anybody. user: who is logged in. admin: administrators. app: who manages {app}.
# local: the node's own socket.
# git: who manages {app}, with a token as the password git asks for; to all others there is no such app.
Access = Literal["public", "user", "admin", "app", "local", "git"]


@dataclass(frozen=True, slots=True)
class Route:
    """One row. A page's errors are pages too, and strangers are sent to the login; the API answers JSON."""

    method: str
    path: str
    handler: Handler
    access: Access
    is_page: bool = False
    streams_body: bool = False  # the handler reads it piece by piece, and bounds it


def _page(method: str, path: str, handler: Handler, access: Access) -> Route:
    return Route(method, path, handler, access, is_page=True)


API = "/api/v1"
APP = "/api/v1/apps/{app}"
TOPIC = "/api/v1/queue/topics/{topic}"
JOB = "/api/v1/queue/jobs/{id}"
GIT = "/git/{app}.git"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/healthz", cluster_api.healthz, "public"),
    Route("GET", "/readyz", cluster_api.readyz, "public"),
    Route("GET", "/ca.pem", cluster_api.ca_pem, "public"),
    Route("GET", "/openapi.json", cluster_api.show_openapi, "public"),
    Route("GET", "/static/{name}", pages.static_file, "public"),
    # people
    Route("POST", f"{API}/users", people_api.register, "public"),
    Route("POST", f"{API}/sessions", people_api.log_in, "public"),
    Route("DELETE", f"{API}/sessions", people_api.log_out, "user"),
    Route("GET", f"{API}/me", people_api.me, "user"),
    Route("GET", f"{API}/tokens", tokens_api.list_tokens, "user"),
    Route("POST", f"{API}/tokens", tokens_api.create_token, "user"),
    Route("DELETE", f"{API}/tokens/{{token}}", tokens_api.revoke_token, "user"),
    # the cluster
    Route("GET", f"{API}/status", cluster_api.show_status, "user"),
    Route("GET", f"{API}/nodes", cluster_api.list_nodes, "user"),
    Route("GET", f"{API}/nodes/{{node}}", cluster_api.show_node, "user"),
    Route("GET", f"{API}/nodes/{{node}}/history", cluster_api.show_history, "user"),
    Route("POST", f"{API}/join-tokens", membership_api.create_join_token, "admin"),
    Route("DELETE", f"{API}/join-tokens", membership_api.revoke_tokens, "admin"),
    Route("POST", f"{API}/key-rotation", membership_api.rotate_key, "admin"),
    Route("GET", f"{API}/key-rotation", membership_api.show_key_rotation, "admin"),
    Route("DELETE", f"{API}/nodes/{{node}}", membership_api.remove, "admin"),
    Route("POST", f"{API}/nodes/{{node}}/cordon", membership_api.cordon, "admin"),
    Route("POST", f"{API}/nodes/{{node}}/drain", membership_api.drain, "admin"),
    Route("POST", f"{API}/nodes/{{node}}/uncordon", membership_api.uncordon, "admin"),
    Route("POST", f"{API}/leader/step-down", membership_api.let_leader_step_down, "admin"),
    Route("GET", f"{API}/events", cluster_api.events, "user"),
    Route("GET", f"{API}/local/setup-code", cluster_api.setup_code, "local"),
    Route("POST", f"{API}/local/stop", cluster_api.stop, "local"),
    Route("POST", f"{API}/local/leave", membership_api.leave, "local"),
    Route("GET", f"{API}/local/leave", membership_api.show_leaving, "local"),
    # apps
    Route("GET", f"{API}/apps", app_api.list_apps, "user"),
    Route("POST", f"{API}/apps", app_api.create_app, "user"),
    Route("GET", APP, app_api.show_app, "app"),
    Route("PATCH", APP, app_api.rename_app, "app"),
    Route("DELETE", APP, app_api.destroy_app, "app"),
    Route("GET", f"{APP}/config", app_api.show_config, "app"),
    Route("PATCH", f"{APP}/config", app_api.change_config, "app"),
    Route("GET", f"{APP}/formation", app_api.show_formation, "app"),
    Route("PATCH", f"{APP}/formation", app_api.change_formation, "app"),
    Route("POST", f"{APP}/run", run_api.run, "app"),
    Route("PUT", f"{APP}/maintenance", app_api.set_maintenance, "app"),
    Route("GET", f"{APP}/dynos", dyno_api.list_dynos, "app"),
    Route("GET", f"{APP}/dynos/{{dyno}}", dyno_api.show_dyno, "app"),
    Route("POST", f"{APP}/dynos/restart", dyno_api.restart_dynos, "app"),
    Route("POST", f"{APP}/dynos/stop", dyno_api.stop_dynos, "app"),
    Route("GET", f"{APP}/cron", cron_api.list_cron, "app"),
    Route("POST", f"{APP}/cron/{{entry}}/run", cron_api.run_cron, "app"),
    Route("GET", f"{APP}/logs", app_api.show_logs, "app"),
    Route("GET", f"{APP}/releases", release_api.list_releases, "app"),
    Route("POST", f"{APP}/releases", release_api.create_release, "app"),
    Route("GET", f"{APP}/releases/{{version}}", release_api.show_release, "app"),
    Route("POST", f"{APP}/builds", build_api.create_build, "app", streams_body=True),
    Route("GET", f"{APP}/builds", build_api.list_builds, "app"),
    Route("GET", f"{APP}/builds/{{id}}", build_api.show_build, "app"),
    Route("DELETE", f"{APP}/builds/{{id}}", build_api.cancel_build, "app"),
    Route("GET", f"{APP}/builds/{{id}}/log", build_api.show_build_log, "app"),
    Route("GET", f"{APP}/deploy-key", deploy_key_api.show_deploy_key, "app"),
    Route("POST", f"{APP}/deploy-key", deploy_key_api.set_deploy_key, "app"),
    Route("DELETE", f"{APP}/deploy-key", deploy_key_api.remove_deploy_key, "app"),
    Route("GET", f"{APP}/hooks", hooks_api.list_hooks, "app"),
    Route("POST", f"{APP}/hooks", hooks_api.create_hook, "app"),
    Route("DELETE", f"{APP}/hooks/{{hook}}", hooks_api.revoke_hook, "app"),
    # A git server has no login: the call proves itself by the hook's secret.
    Route("POST", f"{APP}/hooks/{{hook}}", hooks_api.deliver, "public", streams_body=True),
    # the queue
    Route("GET", f"{API}/queue/topics", topic_api.list_topics, "user"),
    Route("POST", f"{API}/queue/topics", topic_api.set_topic, "user"),
    Route("GET", f"{TOPIC}/jobs", topic_api.list_jobs, "user"),
    Route("POST", f"{TOPIC}/jobs", queue_api.put_job, "user"),
    Route("POST", f"{TOPIC}/reserve", queue_api.reserve_job, "user"),
    Route("GET", TOPIC, topic_api.show_topic, "user"),
    Route("POST", f"{TOPIC}/kick", topic_api.kick_topic, "user"),
    Route("POST", f"{TOPIC}/pause", topic_api.pause_topic, "user"),
    Route("POST", f"{TOPIC}/purge", topic_api.purge_topic, "user"),
    Route("GET", JOB, queue_api.show_job, "user"),
    Route("DELETE", JOB, queue_api.cancel_job, "user"),
    Route("POST", f"{JOB}/ack", queue_api.ack_job, "user"),
    Route("POST", f"{JOB}/nack", queue_api.nack_job, "user"),
    Route("POST", f"{JOB}/extend", queue_api.extend_job, "user"),
    Route("POST", f"{JOB}/bury", queue_api.bury_job, "user"),
    Route("POST", f"{JOB}/kick", queue_api.kick_job, "user"),
    # git
    Route("GET", f"{GIT}/info/refs", git_api.show_refs, "git"),
    Route("POST", f"{GIT}/git-receive-pack", git_api.receive_pack, "git", streams_body=True),
    # pages
    _page("GET", "/login", people_pages.show_login, "public"),
    _page("POST", "/login", people_pages.log_in, "public"),
    _page("GET", "/register", people_pages.show_register, "public"),
    _page("POST", "/register", people_pages.register, "public"),
    _page("POST", "/logout", people_pages.log_out, "user"),
    _page("GET", "/", app_pages.show_apps, "user"),
    _page("GET", "/apps/new", app_pages.show_new_app, "user"),
    _page("POST", "/apps/new", app_pages.create_app, "user"),
    _page("GET", "/apps/{app}", app_pages.show_app, "app"),
    _page("POST", "/apps/{app}/builds", app_pages.deploy, "app"),
    _page("POST", "/apps/{app}/formation", app_pages.scale, "app"),
    _page("POST", "/apps/{app}/config", app_pages.change_config, "app"),
    _page("POST", "/apps/{app}/releases", app_pages.roll_back, "app"),
    _page("POST", "/apps/{app}/dynos", dyno_pages.control, "app"),
    _page("POST", "/apps/{app}/maintenance", dyno_pages.set_maintenance, "app"),
    _page("POST", "/apps/{app}/rename", app_pages.rename, "app"),
    _page("POST", "/apps/{app}/cron", cron_pages.run, "app"),
    _page("POST", "/apps/{app}/destroy", app_pages.destroy, "app"),
    _page("GET", "/apps/{app}/builds/{id}", app_pages.show_build, "app"),
    _page("POST", "/apps/{app}/builds/{id}/cancel", app_pages.cancel_build, "app"),
    _page("GET", "/cluster", cluster_pages.show_cluster, "user"),
    _page("POST", "/cluster/join-token", cluster_pages.make_token, "admin"),
    _page("POST", "/cluster/key-rotation", cluster_pages.rotate_key, "admin"),
    _page("POST", "/cluster/nodes/{node}", cluster_pages.change_node, "admin"),
    _page("GET", "/account", account_pages.show_account, "user"),
    _page("POST", "/account/tokens", account_pages.change_tokens, "user"),
    _page("POST", "/account/people", account_pages.add_person, "admin"),
    _page("GET", "/queue", queue_pages.show_queue, "user"),
    _page("GET", "/queue/{topic}", queue_pages.show_topic, "user"),
    _page("POST", "/queue/{topic}", queue_pages.kick, "user"),
)
