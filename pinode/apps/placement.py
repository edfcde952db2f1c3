"""A placement: the decision that one dyno of a release runs on one node."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """`number` is the log index of the decision.

    A later one outranks an earlier one, and a dyno carries its number.
    """

    number: int
    app: str
    version: int
    process_type: str
    ordinal: int  # 1-based within app and process type: the dyno is called `web.1`
    node_id: str
    is_to_restart: bool = False  # somebody asked for it: the plan replaces it by another one
    is_moving: bool = False  # another one has its place; it serves until that one is up

    @property
    def dyno(self) -> str:
        """Its name, as people see it."""
        return f"{self.process_type}.{self.ordinal}"
