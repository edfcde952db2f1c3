"""The number of this process start: rises with each, whatever the clock says."""

from pathlib import Path

from pinode.peers.durable_files import write_durably


def next_run_id(file: Path) -> int:
    """Count one further than the last start did, durably."""
    try:
        last = int(file.read_text())
    except (FileNotFoundError, ValueError):
        last = 0  # gossip raises it when somebody remembers a higher one
    write_durably(file, f"{last + 1}\n".encode(), mode=0o600)
    return last + 1
