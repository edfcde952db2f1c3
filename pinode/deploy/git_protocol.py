"""What git says when it pushes over HTTP, and what it is answered (gitprotocol-pack(5), gitprotocol-http(5)).

pinode speaks the receiving side itself. It advertises no branch, so that every push is welcome on every node,
whichever node got the one before; and it takes one branch or tag a push.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pinode.errors import InvalidInput

SERVICE = "git-receive-pack"
CAPABILITIES = "report-status side-band-64k push-options no-thin ofs-delta object-format=sha1 agent=pinode"
FLUSH = b"0000"
NOTHING = "0" * 40
COMMANDS_BYTES = 1024 * 1024  # of all that stands before the pack
BAND_BYTES = 65_515  # of one packet, by side-band-64k
DATA, PROGRESS = 1, 2
COMMAND = re.compile(r"(?P<old>[0-9a-f]{40}) (?P<new>[0-9a-f]{40}) (?P<ref>[^\0\n]+)\n?", re.DOTALL)
OPTION_CHARACTERS = 1_024
OPTIONS_AT_MOST = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RefUpdate:
    """What a push wants of one ref."""

    ref: str
    new: str  # the object's name; forty zeros to delete it

    @property
    def is_deletion(self) -> bool:
        return self.new == NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class PushCommands:
    """All that a push says before its pack."""

    updates: tuple[RefUpdate, ...]
    capabilities: frozenset[str]
    options: tuple[str, ...] = ()  # of `git push -o`
    is_shallow: bool = False  # the sender's history is cut off


class PushReader:
    """Takes a push's body apart, in whatever pieces it comes."""

    def __init__(self) -> None:
        self.commands: PushCommands | None = None  # once they are whole
        self._rest = b""
        self._updates: list[RefUpdate] = []
        self._capabilities: frozenset[str] = frozenset()
        self._options: list[str] | None = None  # while options are read
        self._is_shallow = False
        self._read_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; those of them that belong to the pack. Raises `InvalidInput`."""
        if self.commands is not None:
            return data
        waiting, at = self._rest + data, 0
        while self.commands is None and (packet := _packet_at(waiting, at)) is not None:
            line, end = packet
            self._read_bytes += end - at
            at = end
            self._read_line(line)
        rest = waiting[at:]
        if self._read_bytes + (0 if self.commands else len(rest)) > COMMANDS_BYTES:
            raise InvalidInput("the push names too many branches and tags.", hint="Push one of them.")
        if self.commands is None:
            self._rest = rest
            return b""
        self._rest = b""
        return rest

    def _read_line(self, line: bytes | None) -> None:
        if line is None:
            self._end_section()
        elif self._options is not None:
            option = _text(line).removesuffix("\n")
            if len(option) > OPTION_CHARACTERS:
                raise InvalidInput(f"a push option has more than {OPTION_CHARACTERS} characters.")
            if len(self._options) >= OPTIONS_AT_MOST:
                raise InvalidInput(f"the push has more than {OPTIONS_AT_MOST} options.")
            self._options.append(option)
        elif line.startswith(b"shallow "):
            self._is_shallow = True
        else:
            self._read_command(line)

    def _read_command(self, line: bytes) -> None:
        command, nul, capabilities = line.partition(b"\0")
        match = COMMAND.fullmatch(_text(command))
        if match is None:
            raise InvalidInput("the push is not what git would send.", hint="Push with git.")
        if nul and not self._updates:
            self._capabilities = frozenset(_text(capabilities).split())
        self._updates.append(RefUpdate(ref=match["ref"], new=match["new"]))

    def _end_section(self) -> None:
        if self._options is None and self._updates and "push-options" in self._capabilities:
            self._options = []
            return
        self.commands = PushCommands(
            updates=tuple(self._updates),
            capabilities=self._capabilities,
            options=tuple(self._options or ()),
            is_shallow=self._is_shallow,
        )


def advertisement(known: Sequence[str]) -> bytes:
    """The answer to `info/refs`: no branches, and commits whose objects need not be sent again."""
    names = [*(f"{commit} .have" for commit in known)] or [f"{NOTHING} capabilities^{{}}"]
    first, *others = names
    lines = [f"{first}\0{CAPABILITIES}\n", *(f"{name}\n" for name in others)]
    body = b"".join(_packet(line.encode()) for line in lines)
    return _packet(f"# service={SERVICE}\n".encode()) + FLUSH + body + FLUSH


class PushAnswer:
    """The bytes of the answer, as this client can read them."""

    def __init__(self, commands: PushCommands) -> None:
        self._commands = commands
        self._has_bands = "side-band-64k" in commands.capabilities

    def line(self, text: str) -> bytes:
        """A line that git shows as `remote: …`; empty where the client can show none."""
        if not self._has_bands:
            return b""
        return _banded(PROGRESS, text.encode("utf-8", "replace") + b"\n")

    def alive(self) -> bytes:
        """Shows nothing; tells the client, and what is between, that there is more to come."""
        return _banded(PROGRESS, b"") if self._has_bands else b""

    def end(self, refused: str | None) -> bytes:
        """The last word: all refs are taken, or refused with this reason."""
        if "report-status" not in self._commands.capabilities:
            return FLUSH if self._has_bands else b""
        reason = " ".join((refused or "").split())
        lines = [b"unpack ok\n"]
        for update in self._commands.updates:
            said = f"ok {update.ref}\n" if refused is None else f"ng {update.ref} {reason}\n"
            lines.append(said.encode("utf-8", "replace"))
        report = b"".join(map(_packet, lines)) + FLUSH
        return _banded(DATA, report) + FLUSH if self._has_bands else report


def _packet_at(data: bytes, at: int) -> tuple[bytes | None, int] | None:
    """The packet that begins at `at` (None: a flush) and where it ends; None when it is not whole yet."""
    head = data[at : at + 4]
    if len(head) < 4:
        return None
    if not re.fullmatch(rb"[0-9a-f]{4}", head):
        raise InvalidInput("the push is not what git would send.", hint="Push with git.")
    length = int(head, 16)
    if length == 0:
        return None, at + 4
    if length < 4:
        raise InvalidInput("the push is not what git would send.", hint="Push with git.")
    return (data[at + 4 : at + length], at + length) if len(data) >= at + length else None


def _packet(data: bytes) -> bytes:
    return b"%04x" % (len(data) + 4) + data


def _banded(band: int, data: bytes) -> bytes:
    pieces = [data[at : at + BAND_BYTES] for at in range(0, len(data), BAND_BYTES)] or [b""]
    return b"".join(_packet(bytes([band]) + piece) for piece in pieces)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput("the push names something that is not UTF-8.") from error
