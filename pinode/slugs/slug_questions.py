"""What a node asks another for of a slug, and the head of the answer, as bytes.

A version before this one asked for the whole slug and answered with all of it. It skips the fields that say
which part is wanted, and its head does not say where the bytes begin: at the first.
"""

from dataclasses import dataclass

import msgpack

from pinode.errors import InvalidInput

NUMBER_BYTES = 8
MOST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SlugQuestion:
    """Some bytes of a slug: all unless `wanted` is given; none: is it there, and how large?"""

    digest: str
    first: int = 0
    wanted: int | None = None

    @property
    def is_first(self) -> bool:
        """Whether the slug is to be checked before it is passed on: once a fetch, not once a part."""
        return not self.wanted

    def part(self, slug_bytes: int) -> tuple[int, int]:
        """From where to where, in a slug of this size."""
        end = slug_bytes if self.wanted is None else min(self.first + self.wanted, slug_bytes)
        return min(self.first, end), end


def encode_question(question: SlugQuestion) -> bytes:
    """A question, ready to be sent."""
    fields: dict[str, str | int] = {"digest": question.digest}
    if question.wanted is not None:
        fields |= {"first": question.first, "wanted": question.wanted}
    packed: bytes = msgpack.packb(fields)
    return packed


def decode_question(payload: bytes) -> SlugQuestion:
    """Read a question. Raises `InvalidInput`."""
    try:
        fields = msgpack.unpackb(payload)
        digest, first, wanted = fields["digest"], fields.get("first", 0), fields.get("wanted")
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
        raise InvalidInput("a question about a slug names none") from error
    if not isinstance(digest, str):
        raise InvalidInput("a question about a slug names none")
    if not _is_number(first) or not (wanted is None or _is_number(wanted)):
        raise InvalidInput("a question about a slug asks for no part of it")
    return SlugQuestion(digest=digest, first=first, wanted=wanted)


def encode_head(question: SlugQuestion, *, slug_bytes: int) -> bytes:
    """What comes before the bytes."""
    head = slug_bytes.to_bytes(NUMBER_BYTES, "big")
    return (
        head if question.wanted is None else head + question.part(slug_bytes)[0].to_bytes(NUMBER_BYTES, "big")
    )


def decode_head(head: bytes) -> tuple[int, int]:
    """The size of the slug, and where the bytes begin."""
    return int.from_bytes(head[:NUMBER_BYTES], "big"), int.from_bytes(head[NUMBER_BYTES:], "big")


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= MOST
