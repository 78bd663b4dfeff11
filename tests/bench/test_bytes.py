"""Parsing of bytes: HTTP messages, MongoDB's commands, folded stacks."""

import json
from collections import Counter

import bson
import pytest

from bench.contender import batched
from bench.http1 import Messages, answer, header, status_of
from bench.layers import IDLE, layer_of, parsed, shares
from bench.load import JWT_KEY, identity, request_of, user_of
from bench.store_count import DOCUMENTS, HEAD, OP_MSG, Commands
from payment.actors.http.auth import authenticate
from payment.adapters.system import SystemClock


@pytest.mark.parametrize("pieces", [1, 7, 1_000])
def test_messages_are_found_however_the_bytes_are_cut(pieces: int) -> None:
    """TCP may split a message anywhere."""
    stream, messages = answer(201, b"first") + answer(503, b"") + answer(200, b"third"), Messages()
    found = [each for start in range(0, len(stream), pieces) for each in messages.fed(stream[start : start + pieces])]
    assert [(status_of(head), body) for head, body in found] == [(201, b"first"), (503, b""), (200, b"third")]


def test_a_header_is_found_whatever_its_case() -> None:
    """Names of headers have no case."""
    head = b"HTTP/1.1 202 Accepted\r\nLOCATION: /there\r\nx: y"
    assert header(head, b"location") == b"/there"
    assert header(head, b"retry-after") == b""


def test_a_request_is_signed_as_the_service_wants_it() -> None:
    """Otherwise the bench would measure the speed of 401."""
    head, _, body = request_of("order-1").partition(b"\r\n\r\n")
    who = authenticate(header(head, b"authorization").decode(), None, (JWT_KEY,), SystemClock().now())
    assert who.user_id == user_of("order-1")
    assert json.loads(body)["orderId"] == "order-1"
    assert identity("order-1") != identity("order-2")


def message(command: dict[str, object], *documents: dict[str, object]) -> bytes:
    body = b"\0" + bson.encode(command)
    if documents:
        carried = b"updates\0" + b"".join(map(bson.encode, documents))
        body += b"\1" + (len(carried) + 4).to_bytes(4, "little") + carried
    return HEAD.pack(HEAD.size + 4 + len(body), 1, 0, OP_MSG) + b"\0" * 4 + body


def test_commands_and_the_documents_they_carry_are_counted() -> None:
    """A bulk write is one command with many documents; the driver's own commands don't count."""
    count: Counter[str] = Counter()
    commands = Commands(count)
    stream = message({"find": "orders"}) + message({"hello": 1}) + message({"update": "orders"}, {"q": 1}, {"q": 2})
    for start in range(0, len(stream), 11):
        commands.feed(stream[start : start + 11])
    assert {name: number for name, number in count.items() if number} == {"find": 1, "update": 1, DOCUMENTS: 2}


def test_time_of_the_standard_library_belongs_to_its_caller() -> None:
    """JSON that the stripe library reads is the stripe library's."""
    assert layer_of(
        ("main", "/x/payment/adapters/stripe/cards.py:f", "/x/stripe/_a.py:g", "/lib/json/decoder.py:h")
    ) == ("stripe library")
    assert layer_of((IDLE,)) == IDLE


def test_a_profile_is_shared_out_by_layer_and_by_function() -> None:
    """A function that calls itself counts once for a sample."""
    layers, own, whole = shares(parsed(["main;/p/payment/core/a.py:f;/p/payment/core/a.py:f 3", "idle 1"]))
    assert layers == {"our core": 3, IDLE: 1}
    assert own["/p/payment/core/a.py:f"] == whole["/p/payment/core/a.py:f"] == 3


def test_batches_hold_the_count_and_the_last_one_the_rest() -> None:
    """Nothing is left out at the end."""
    assert list(batched(({"n": n} for n in range(5)), 2)) == [[{"n": 0}, {"n": 1}], [{"n": 2}, {"n": 3}], [{"n": 4}]]
