"""An endpoint: its route, its argument (`ApiCall`) and its result (`Result`)."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from payment.stripe_sandbox.errors import ApiError, SandboxAnswer, no_such
from payment.stripe_sandbox.pages import ObjectPage
from payment.stripe_sandbox.params import Params

PAGE_PARAMS = ("limit", "starting_after", "ending_before", "created", "created[*]")

CUSTOMERS = ("customer", "customer_account", "mandate")
CONNECT = ("application_fee", "application_fee_amount", "destination", "on_behalf_of", "transfer_data")
UNSUPPORTED = (*CUSTOMERS, *CONNECT, "destination[*]", "transfer_data[*]")
"""Parameters that Stripe knows and `refuse_unsupported` refuses by name."""

Result = Struct | dict[str, Any] | SandboxAnswer
"""An object, a list, or a complete answer: that of a declined card."""


class ApiCall(Struct):
    """One request that is about to be executed."""

    params: Params
    object_id: str = ""
    """The id in its path."""
    publishable: bool = False
    """Whether it has a publishable key: a browser's request, which gets fewer fields and needs the intent's client
    secret.
    """
    origin: str = ""
    """The base URL of the sandbox's own pages: `http://127.0.0.1:12111`."""
    request_id: str | None = None
    idempotency_key: str | None = None
    processing_s: float | None = None
    """How long a payment of this call stays `processing`, in seconds (the fault `processing`). None: not at all."""


class Endpoint(Struct, frozen=True):
    """One route. `name` identifies it in faults and counts; the path may contain `{id}`."""

    name: str
    method: str
    path: str
    act: Callable[[ApiCall], Result]
    returns: str
    """The type of the returned or listed object, which decides what `expand` may name."""
    public: bool = False
    """Whether it may be called with a publishable key, from pages of any origin."""

    @property
    def lists(self) -> bool:
        return self.name.endswith(".list")


def page_of(params: Params, kind: str, find: Callable[[str], object | None]) -> ObjectPage:
    """Returns the page that a list's parameters request. `find` returns the object of type `kind` with an id, or
    None.
    """
    after, before = params.text("starting_after"), params.text("ending_before")
    if after is not None and before is not None:
        raise ApiError("You cannot use both starting_after and ending_before.", param="starting_after")
    for name, mark in (("starting_after", after), ("ending_before", before)):
        if mark is not None and find(mark) is None:
            raise no_such(kind, mark, param=name)
    return ObjectPage(params.page_limit(), after, before, params.times("created"))


def refuse_unsupported(params: Params) -> None:
    """Raise ApiError for parameters that Stripe accepts and the sandbox does not implement: customers, mandates,
    connected accounts.
    """
    for name in CUSTOMERS:
        if (value := params.text(name)) is not None:
            raise no_such(name, value, param=name)
    for name in CONNECT:
        if params.has(name):
            raise ApiError(f"There are no connected accounts in the sandbox, which `{name}` is for.", param=name)


def selected(params: Params, *names: str) -> dict[str, str]:
    """Returns the given filters among `names`."""
    found = {name: params.text(name) for name in names}
    return {name: value for name, value in found.items() if value is not None}
