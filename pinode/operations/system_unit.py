"""The text of the systemd unit that runs this machine's node. Pure."""

import re
from dataclasses import dataclass
from pathlib import Path

from pinode.errors import Conflict, InvalidInput

UNIT = "pinode.service"
MARK = "# Written by `pinode install`"  # the first line of a unit of ours begins so
STOP_SECONDS = 60  # longer than a node needs at SIGTERM
UNSPEAKABLE = frozenset("\"'\\$")  # systemd runs no program whose path has one of these
PLAIN_WORD = re.compile(r"[A-Za-z0-9_@+,./=:-]+")
WRITTEN_WORD = re.compile(r'"([^"]*)"|([^ "]+)')

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


class StrangeUnit(Conflict):
    """A unit of ours that somebody has changed: which node it starts cannot be told."""

    def __init__(self, line: str) -> None:
        super().__init__(
            f"{UNIT} was changed by hand: {line!r} is not what `pinode install` writes there",
            hint="`sudo pinode install` writes it anew, with the same --config and --data-dir as before.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFlags:
    """Which node `pinode start` is to run: absolute paths, None for what is not named."""

    config: Path | None = None
    data_dir: Path | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """As `pinode` takes them."""
        named = (("--config", self.config), ("--data-dir", self.data_dir))
        return tuple(word for flag, path in named if path is not None for word in (flag, str(path)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemUnit:
    """What differs from machine to machine."""

    program: tuple[str, ...]  # that is pinode, by an absolute path
    flags: StartFlags
    data_dir: Path  # that these flags lead to

    @property
    def command(self) -> tuple[str, ...]:
        """What runs the node in the foreground."""
        return (*self.program, "start", *self.flags.words)

    @property
    def text(self) -> str:
        """The file. Raises `InvalidInput` for what a unit cannot name."""
        return TEXT.format(
            mark=MARK,
            command=" ".join(map(quoted, self.command)),
            data_dir=quoted(str(self.data_dir)),
            stop_seconds=STOP_SECONDS,
        )


def read_unit(text: str) -> SystemUnit:
    """The unit whose `text` this is. Raises `StrangeUnit`."""
    command, data_dir = _words(text, "ExecStart="), _words(text, "RequiresMountsFor=")
    start = command.index("start", 1) if "start" in command[1:] else len(command)
    flags = command[start + 1 :]
    named = {flag: Path(path) for flag, path in zip(flags[::2], flags[1::2], strict=False)}
    unit = SystemUnit(
        program=command[:start],
        flags=StartFlags(config=named.get("--config"), data_dir=named.get("--data-dir")),
        data_dir=Path(*data_dir),
    )
    if not command[0].startswith("/") or unit.command != command or len(data_dir) != 1:
        raise StrangeUnit(" ".join(command or data_dir))
    return unit


def _words(text: str, key: str) -> tuple[str, ...]:
    """Of the one line that begins so. Raises `StrangeUnit`."""
    lines = [line for line in text.split("\n") if line.startswith(key)]
    if len(lines) != 1:
        raise StrangeUnit(lines[-1] if lines else key)
    written = lines[0].removeprefix(key)
    words = [found[1] if found[2] is None else found[2] for found in WRITTEN_WORD.finditer(written)]
    read = tuple(word.replace("%%", "%") for word in words)
    try:
        again = " ".join(map(quoted, read))
    except InvalidInput as error:
        raise StrangeUnit(lines[0]) from error
    if again != written:
        raise StrangeUnit(lines[0])
    return read


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
