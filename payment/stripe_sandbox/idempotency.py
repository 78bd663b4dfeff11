"""Idempotency keys, as in docs.stripe.com/api/idempotent_requests: one answer for one key.

The status and body of the first executed request with a key are kept, declines, 500s and errors of the execution
included (`errors.ExecutionError`: a 400 for an intent in the wrong state, a 404 for an unknown id). The same request
gets them again. A request with other parameters or to another endpoint is refused, and so is one while the first is
executing. A request that was refused before its execution (bad parameters, 401, 409, 429) leaves the key unused. A key
expires after 24 hours, and is then unused again.

It must never keep an answer outside the transaction of the execution.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from payment.stripe_sandbox.database import Database, KeptAnswer
from payment.stripe_sandbox.errors import ApiError, SandboxAnswer, key_in_use, key_reused

KEY_LIFE_S = 24 * 3600
"""In seconds: Stripe prunes keys that are at least this old."""
KEY_CHARS = 255
"""Stripe's limit."""


class KeyedRequest(Struct, frozen=True):
    """A POST with an idempotency key. `request_id` is the id of this request."""

    key: str
    path: str
    fingerprint: str
    request_id: str


class IdempotencyKeys:
    """The keys in use. Kept answers are in the database, executing requests only in memory."""

    def __init__(self, database: Database, key_life_s: float = KEY_LIFE_S) -> None:
        self._database = database
        self._key_life_s = key_life_s
        self._under_way: dict[str, str] = {}

    def replay(self, request: KeyedRequest) -> SandboxAnswer | None:
        """Returns the kept answer, or None if this request is to be executed. Raises ApiError if it may not be."""
        if len(request.key) > KEY_CHARS:
            raise ApiError(f"Idempotency keys can be up to {KEY_CHARS} characters long.")
        kept = self._database.answer_for(request.key)
        if kept is None:
            return None
        if kept.kept_at + self._key_life_s <= self._database.now():
            return None
        self._refuse_other_request(request, kept)
        headers = {"Original-Request": kept.request_id, "Idempotent-Replayed": "true"}
        return SandboxAnswer(kept.status, kept.body, headers)

    def _refuse_other_request(self, request: KeyedRequest, kept: KeptAnswer) -> None:
        if kept.fingerprint == request.fingerprint and kept.path == request.path:
            return
        self._note_other_request(request)
        if kept.path != request.path:
            sameness = f"for the same endpoint they were first used for ('{request.path}' vs '{kept.path}')"
            raise key_reused(request.key, sameness)
        raise key_reused(request.key, "with the same parameters they were first used with")

    def _note_other_request(self, request: KeyedRequest) -> None:
        with self._database.transaction():
            self._database.note_strange_key(request.key, f"{request.path} {request.fingerprint}")

    @contextmanager
    def hold(self, request: KeyedRequest) -> Iterator[None]:
        """Hold the key while its request is executing. Raises ApiError (409) if another request holds it."""
        holder = self._under_way.get(request.key)
        this = f"{request.path} {request.fingerprint}"
        if holder is not None:
            if holder != this:
                self._note_other_request(request)
            raise key_in_use(request.key)
        self._under_way[request.key] = this
        try:
            yield
        finally:
            del self._under_way[request.key]

    def keep(self, request: KeyedRequest, answer: SandboxAnswer) -> None:
        """Keep the answer to an executed request, inside the transaction of its execution."""
        if self._database.answer_for(request.key) is not None:
            self._database.count("keys_reused_late")
        answer.headers["Original-Request"] = request.request_id
        kept = KeptAnswer(
            path=request.path,
            fingerprint=request.fingerprint,
            kept_at=self._database.now(),
            request_id=request.request_id,
            status=answer.status,
            body=answer.body,
        )
        self._database.keep_answer(request.key, kept)
