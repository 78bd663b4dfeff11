"""A value that no log, error or repr ever shows."""


class Secret:
    """Text that must not be shown: only `reveal` returns it. `shown` is what `str` and `repr` show instead."""

    __slots__ = ("_shown", "_text")

    def __init__(self, text: str, shown: str = "***") -> None:
        self._text = text
        self._shown = shown

    def reveal(self) -> str:
        """Returns the secret itself, for the one library that needs it."""
        return self._text

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"Secret({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __getstate__(self) -> object:
        raise TypeError("a secret must not be copied or pickled")
