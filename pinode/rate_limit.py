"""How often somebody may try: a bound on guesses, kept in memory and itself bounded."""

from collections import OrderedDict

from pinode.errors import PinodeError


class TooMany(PinodeError):
    """Come back later."""

    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message, hint=f"Try again in {retry_after_seconds:.0f} s.")
        self.retry_after_seconds = retry_after_seconds


class RateLimit:
    """Allows `burst` attempts at once for each key and one more every `seconds_each` (GCRA).

    Remembers the `keys` last seen; one that was forgotten begins anew.
    """

    def __init__(self, *, burst: int, seconds_each: float, keys: int = 1024) -> None:
        self._tolerance = (burst - 1) * seconds_each
        self._seconds_each = seconds_each
        self._keys = keys
        self._due: OrderedDict[str, float] = OrderedDict()  # key -> when its allowance is full again

    def take(self, key: str, *, now: float) -> None:
        """Count one attempt. Raises `TooMany` when it is one too many."""
        due = max(self._due.pop(key, now), now)
        wait = due - self._tolerance - now
        if wait > 0:
            self._due[key] = due
            raise TooMany("too many attempts.", retry_after_seconds=max(1.0, wait))
        self._due[key] = due + self._seconds_each
        while len(self._due) > self._keys:
            self._due.popitem(last=False)

    def forgive(self, key: str) -> None:
        """Forget the attempts of a key: they ended well."""
        self._due.pop(key, None)
