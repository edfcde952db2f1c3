"""What has changed in a queue while a snapshot is taken, so that it is told again."""


class Touched:
    """Jobs by id, topics by name; each may also be gone by now."""

    __slots__ = ("jobs", "topics")

    def __init__(self) -> None:
        self.jobs: set[int] = set()
        self.topics: set[str] = set()

    def __len__(self) -> int:
        return len(self.jobs) + len(self.topics)
