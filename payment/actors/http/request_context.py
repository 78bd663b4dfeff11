"""What is known of a request from its beginning to its end, and the route that it takes."""

from aiohttp import web
from msgspec import Struct

from payment.actors.http.body import BodyRefused
from payment.actors.http.responses import Case, error
from payment.actors.http.routes import OTHER, Route, place_of


class RequestContext(Struct):
    """What is known of a request from its beginning to its end."""

    request_id: str
    started_at: float
    in_line_s: float
    template: str = OTHER
    payment_id: str = ""


def route_of(request: web.BaseRequest, context: RequestContext) -> Route:
    """Returns the route of a request. Puts the template, and the payment id where there is one, into `context`.

    Raises:
        BodyRefused: there is nothing at the address, or not with this method.
    """
    found = place_of(request.rel_url.raw_path)
    if found is None:
        raise BodyRefused(error(Case.NO_SUCH_ROUTE, "There is nothing at this address"))
    place, context.payment_id = found
    context.template = place.template
    route = place.routes.get(request.method)
    if route is None:
        allow = (("Allow", place.allow),)
        raise BodyRefused(error(Case.BAD_METHOD, f"The address takes {place.allow} only", headers=allow))
    return route
