"""One environment variable: how it is read, and the problem where it is bad or missing. For `payment.settings`."""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from payment.adapters.nats.login import shown_path
from payment.ops.redaction import Redactor
from payment.ops.secret import Secret
from payment.process.listening import Unfit
from payment.settings import values
from payment.settings.secrets import SHOWN_CHARS_MAX, passwords_in, plain
from payment.settings.values import NOT_SHOWN


class Problem(Struct, frozen=True):
    """One variable that is missing or malformed. `got` is fit to be shown; None where the variable is missing.

    `hint` is how to fix it, where that is known.
    """

    variable: str
    wants: str
    got: str | None
    hint: str = ""

    def __str__(self) -> str:
        got = "it is not set" if self.got is None else f"got {self.got}"
        return f"{self.variable} wants {self.wants}; {got}" + (f" ({self.hint})" if self.hint else "")


class Variable(Struct, frozen=True, kw_only=True):
    """One environment variable. `wants` ends the sentence "NAME wants …"; `default` is its text where it is not set.

    `read` returns the setting, or raises ValueError; the text of an `Unfit` says how to fix the value. `show` returns
    what may be shown of a bad value, unless that is another variable's secret. `may_be_quoted`: quotes around the value
    are no error, for a secret may contain them.
    """

    name: str
    meaning: str
    example: str
    wants: str
    read: Callable[[str], object]
    default: str | None = None
    required: bool = False
    show: Callable[[str], str] = plain
    may_be_quoted: bool = False

    def value_in(self, environ: Mapping[str, str], redactor: Redactor) -> object:
        """Returns the setting that an environment gives this variable, None where it gives none, or a `Problem`."""
        text = environ.get(self.name, "")
        if not text.strip():
            if self.required:
                return Problem(self.name, self.wants, None)
            return None if self.default is None else self.read(self.default)
        try:
            if not self.may_be_quoted:
                values.unquoted(text)
            value = self.read(text)
            if self.show is not hidden and redactor.is_secret(text if self.show is plain else self.show(text)):
                raise Unfit("it looks like a secret, which stands in the wrong variable")
            return value
        except Unfit as unfit:
            return self._problem(text, redactor, str(unfit))
        except ValueError:
            return self._problem(text, redactor, "")

    def _problem(self, text: str, redactor: Redactor, hint: str) -> Problem:
        if not hint:
            try:
                values.unpadded(text)
            except Unfit as unfit:
                hint = str(unfit)
        shown = self.show(text)
        got = shown[:SHOWN_CHARS_MAX] if redactor.may_be_shown(shown) else NOT_SHOWN
        return Problem(self.name, self.wants, got, hint)


def hidden(_: str) -> str:
    """Returns the text that is shown for a secret."""
    return NOT_SHOWN


def checked(read: Callable[[str], object]) -> Callable[[str], Secret]:
    """Returns a reader for a secret that is read from its file again at each use: it checks that `read` works now."""

    def check(text: str) -> Secret:
        read(text)
        return Secret(text)

    return check


def redactor_of(variables: Iterable[Variable], environ: Mapping[str, str]) -> Redactor:
    """Knows the secrets that an environment holds where they belong: no other variable may show them."""
    # Bytes that are no Unicode come as lone surrogates, and are shown as question marks.
    set_here = [(variable, environ.get(variable.name, "").strip()) for variable in variables]
    texts = [(variable, text.encode("utf-8", "replace").decode()) for variable, text in set_here]
    keys = [text for variable, text in texts if variable.show in (hidden, shown_path)]
    passwords = [word for _, text in texts if "://" in text for word in passwords_in(text)]
    return Redactor(passwords, keys=[key for key in keys if shown_path(key) == NOT_SHOWN])
