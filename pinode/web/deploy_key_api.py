"""The API about an app's deploy key: the private part goes in, or is made here, and never comes out."""

from aiohttp import web
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from pinode.apps.commands import SetDeployKey
from pinode.errors import InvalidInput
from pinode.web.messages import answer, json_body, nothing, text_of
from pinode.web.operation import operation
from pinode.web.shapes import SECRET, TEXT, Record, maybe
from pinode.web.site import caller, managed_app, site_of

KEY_CHARACTERS = 8 * 1024


@operation("The public part of its deploy key", answers={200: Record({"public_key": maybe(TEXT)})})
async def show_deploy_key(request: web.Request) -> web.StreamResponse:
    """GET …/deploy-key: its public part"""
    return answer({"public_key": managed_app(request).deploy_key_public})


@operation(
    "Set its deploy key; without one a key is made",
    body=Record({}, {"private_key": maybe(SECRET)}),
    needs_body=False,
    answers={201: Record({"public_key": TEXT})},
)
async def set_deploy_key(request: web.Request) -> web.StreamResponse:
    """POST …/deploy-key {private_key?} → 201 {public_key}; without one a new key is made"""
    body = await json_body(request)
    private, public = _parts(text_of(body, "private_key", default=None))
    cluster, app = site_of(request).cluster, managed_app(request)
    comment = f"pinode-{app.name}"
    await cluster.execute(
        SetDeployKey(
            app=app.name,
            actor=caller(request).name,
            sealed_key=cluster.seal(private),
            public_key=f"{public} {comment}",
            created_index=app.created_index,
        )
    )
    app = cluster.state.registry.same_app(app)  # repeated under its key: the key that was made first
    return answer({"public_key": app.deploy_key_public}, status=201)


@operation("Forget it", answers={204: None})
async def remove_deploy_key(request: web.Request) -> web.StreamResponse:
    """DELETE …/deploy-key"""
    app = managed_app(request)
    await site_of(request).cluster.execute(
        SetDeployKey(app=app.name, actor=caller(request).name, created_index=app.created_index)
    )
    return nothing()


def _parts(given: str | None) -> tuple[str, str]:
    """The private key as ssh reads it, and its public part. Raises `InvalidInput`, without a word of it."""
    if given is not None and len(given) > KEY_CHARACTERS:
        raise InvalidInput(f"the private key has more than {KEY_CHARACTERS} characters.")
    try:
        key = (
            Ed25519PrivateKey.generate()
            if given is None
            else load_ssh_private_key((given.strip() + "\n").encode(), password=None)
        )
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        made = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInput(
            "that is no private key of OpenSSH without a passphrase.",
            hint="`ssh-keygen -t ed25519 -N '' -f deploy` makes one; or let pinode make it.",
        ) from error
    return (made if given is None else given.strip() + "\n"), public
