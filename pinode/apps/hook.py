"""A webhook: an address that a git server calls after a push, so that the app is deployed."""

from dataclasses import dataclass, field

DELIVERIES_KEPT = 50  # of a hook; what comes again within so many is not built again


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Deploys `branch` of the app's repository after a push to it; None: its default branch."""

    app: str
    id: str
    sealed_secret: bytes = field(repr=False)  # under the data key
    branch: str | None = None
    created_by: str
    created_at_ms: int
    deliveries: tuple[str, ...] = ()  # digests of what was delivered, oldest first
