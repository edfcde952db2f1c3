"""Which slug of a release runs on which node: one of the node's CPU that needs no interpreter it lacks."""

from collections.abc import Sequence

from pinode.apps.build import ANY_ARCH, Slug
from pinode.apps.observed import NodeView


def runs_on(slug: Slug, node: NodeView) -> bool:
    """Whether the node has what the slug needs. One that does not say which interpreters it has, has all."""
    fits_cpu = slug.arch == ANY_ARCH or node.arch in slug.arch.split(",")
    return fits_cpu and (
        slug.interpreter is None or not node.interpreters or slug.interpreter in node.interpreters
    )


def slug_for(slugs: Sequence[Slug], node: NodeView) -> Slug | None:
    """The first of a release's slugs that runs on the node."""
    return next((slug for slug in slugs if runs_on(slug, node)), None)


def needs_of(slug: Slug) -> str:
    """What a node must have to run it, in words."""
    cpu = "any CPU" if slug.arch == ANY_ARCH else slug.arch.replace(",", " or ")
    return f"{cpu} and {slug.interpreter}" if slug.interpreter else cpu


def kind_of(arch: str, interpreters: Sequence[str]) -> str:
    """What nodes of a kind have that slugs may need, in words."""
    cpu = arch or "a CPU it does not name"
    return f"{cpu} with {', '.join(interpreters)}" if interpreters else cpu
