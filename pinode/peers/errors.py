"""What can go wrong between nodes."""

from pinode.errors import PinodeError, Unreachable


class PeerUnreachable(Unreachable, ConnectionError):
    """The other node was not reached, or the link to it ended before it answered."""

    def __init__(self, message: str, *, was_refused: bool = False, was_asked: bool = True) -> None:
        super().__init__(message, hint="Is that node on, and its peer port open?")
        self.was_refused = was_refused  # its machine answered that nothing listens there
        self.was_asked = was_asked  # the question may have reached it; False: surely not


class PeerRefused(PinodeError):
    """The other node was reached and answered with a refusal; `code` is the one it gave."""


class MalformedFrame(PinodeError):
    """Bytes from a peer that are no frame, or break its bounds."""

    code = "malformed"
