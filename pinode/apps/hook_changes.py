"""What webhooks and deploy keys go through: made, used, gone."""

from dataclasses import replace

from pinode.apps.checks import check_text, check_texts
from pinode.apps.commands import CreateHook, RequestBuild, RevokeHook, SetDeployKey
from pinode.apps.errors import AlreadyDelivered, HookNotFound, InvalidValue, TooManyHooks
from pinode.apps.hook import DELIVERIES_KEPT, Hook
from pinode.apps.tables import Tables

HOOKS_OF_AN_APP = 10
SEALED_BYTES = 16 * 1024


def create_hook(tables: Tables, command: CreateHook, *, now: int) -> None:
    """Raises `TooManyHooks` or what is wrong with a value."""
    app = tables.app(command.app)
    check_texts(hook=command.id, branch=command.branch, actor=command.actor)
    _check_sealed(command.sealed_secret)
    if len(tables.hooks.of(app.name)) >= HOOKS_OF_AN_APP:
        raise TooManyHooks(app=app.name, bound=HOOKS_OF_AN_APP)
    tables.check_room()
    hook = Hook(
        app=app.name,
        id=command.id,
        sealed_secret=command.sealed_secret,
        branch=command.branch,
        created_by=command.actor,
        created_at_ms=now,
    )
    tables.hooks.put((app.name, hook.id), hook)


def revoke_hook(tables: Tables, command: RevokeHook) -> None:
    """Raises `HookNotFound`."""
    _hook(tables, command.app, command.id)
    tables.hooks.drop((command.app, command.id))


def forget_hooks(tables: Tables, app: str) -> None:
    """The app goes."""
    for hook in tables.hooks.of(app):
        tables.hooks.drop((app, hook.id))


def check_delivery(tables: Tables, command: RequestBuild) -> None:
    """Raises `HookNotFound`, or `AlreadyDelivered` for what was delivered before."""
    if command.hook is not None and command.delivery in _hook(tables, command.app, command.hook).deliveries:
        raise AlreadyDelivered(hook=command.hook)


def note_delivery(tables: Tables, command: RequestBuild) -> None:
    """Remember it, so that it is not built again."""
    if command.hook is not None and command.delivery is not None:
        hook = _hook(tables, command.app, command.hook)
        deliveries = (*hook.deliveries, command.delivery[:64])[-DELIVERIES_KEPT:]
        tables.hooks.put((hook.app, hook.id), replace(hook, deliveries=deliveries))


def set_deploy_key(tables: Tables, command: SetDeployKey) -> None:
    """Both parts, or neither."""
    if (command.sealed_key is None) != (command.public_key is None):
        raise InvalidValue(what="a deploy key", rule="has a private and a public part")
    if command.sealed_key is not None:
        _check_sealed(command.sealed_key)
        check_text("the public key", command.public_key or "")
    tables.change_app(command.app, sealed_deploy_key=command.sealed_key, deploy_key_public=command.public_key)


def _check_sealed(sealed: bytes) -> None:
    if not 0 < len(sealed) <= SEALED_BYTES:
        raise InvalidValue(what="a sealed secret", rule=f"must have 1 to {SEALED_BYTES} bytes")


def _hook(tables: Tables, app: str, hook_id: str) -> Hook:
    hook = tables.hooks.get((tables.app(app).name, hook_id))
    if hook is None:
        raise HookNotFound(hook=hook_id)
    return hook
