"""The text of the systemd unit that runs this machine's node. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pinode.errors import InvalidInput

UNIT = "pinode.service"
MARK = "# Written by `pinode install`"  # the first line of a unit of ours begins so
STOP_SECONDS = 60  # longer than a node needs at SIGTERM
UNSPEAKABLE = frozenset("\"'\\$")  # systemd runs no program whose path has one of these
PLAIN_WORD = re.compile(r"[A-Za-z0-9_@+,./=:-]+")

TEXT = """\
{mark}, removed by `pinode uninstall`. Do not change it: the next install writes it again, and
# `systemctl edit pinode` has a file of its own for what you want otherwise.
[Unit]
Description=pinode, a node of a cluster of equal nodes
# Without a network it starts too, when waiting has taken too long. It does not wait for the right time.
Wants=network-online.target
After=network-online.target
# With an empty folder, where a disk is missing, it would be a new node.
RequiresMountsFor={data_dir}
# It never gives up: what keeps it from starting now may be gone later.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
# The node alone ends: dynos and router go on, and the next process finds them. `pinode stop` ends these too.
KillMode=process
TimeoutStopSec={stop_seconds}
# Not after 0, which is `pinode stop` and `pinode leave`. Nor after 2 (settings) and 5 (conflict: another node
# has its name, it was removed, its program is too old): there a person has to mend something first.
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 5
# For the administrator's socket.
RuntimeDirectory=pinode
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=restart
# Of the node and the router; each dyno has a bound of its own. Tasks of all dynos count together.
LimitNOFILE=65536
TasksMax=infinity

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemUnit:
    """What differs from machine to machine."""

    command: Sequence[str]  # that runs the node in the foreground, its program by an absolute path
    data_dir: Path

    @property
    def text(self) -> str:
        """The file. Raises `InvalidInput` for what a unit cannot name."""
        return TEXT.format(
            mark=MARK,
            command=" ".join(map(quoted, self.command)),
            data_dir=quoted(str(self.data_dir)),
            stop_seconds=STOP_SECONDS,
        )


def is_ours(text: str) -> bool:
    """Whether such a unit may be replaced."""
    return text.startswith(MARK)


def quoted(word: str) -> str:
    """A word as systemd reads it back (systemd.syntax(7), `%` of systemd.unit(5)). Raises `InvalidInput`."""
    if PLAIN_WORD.fullmatch(word):
        return word
    if not word.isprintable() or UNSPEAKABLE & set(word):
        raise InvalidInput(
            f"systemd takes no path such as {word!r}",
            hint="Move it to a path without quotes, backslashes, dollars and control characters.",
        )
    return '"' + word.replace("%", "%%") + '"'
