"""Idempotency-Key: a POST that is sent again is answered again and not done again, also when both come at once."""

from hashlib import sha256
from typing import Final

from bankfeed.db import Connection, set_tenant
from bankfeed.db.idempotency import Kept, find_key, insert_key, update_key
from bankfeed.model import CustomerId
from ingress.api.answers import Answer
from ingress.api.reading import invalid
from ingress.api.route import Problem, Route

HEADER: Final = "Idempotency-Key"
MAX_KEY_CHARS: Final = 200


class Once:
    """One request with a key. In the request's own transaction: who repeats it meanwhile waits for its commit.

    A key is its sender's own: of `who` acts, or, where nobody has signed in, of the address that it comes from.
    """

    def __init__(self, customer_id: CustomerId, who: str, route: Route, key: str, request: bytes) -> None:
        if not (1 <= len(key) <= MAX_KEY_CHARS and key.isprintable()):
            raise invalid(f"expected {HEADER} to be 1 to {MAX_KEY_CHARS} printable characters", HEADER)
        self._customer_id = customer_id
        self._carries_secret = route.carries_secret
        self._key_sha256 = sha256(f"{who}\n{key}".encode()).digest()
        self._request_sha256 = sha256(f"{route.name}\n".encode() + request).digest()

    async def find_answer(self, conn: Connection) -> Answer | None:
        """Return the answer of a request that was made before; None where this is the first. Raises Problem."""
        if await insert_key(conn, self._customer_id, self._key_sha256, request_sha256=self._request_sha256):
            return None
        kept = await find_key(conn, self._customer_id, self._key_sha256)
        if kept is None:
            raise Problem(409, "idempotency_conflict", f"a request with this {HEADER} is on its way; ask again")
        return self._repeat(kept)

    def _repeat(self, kept: Kept) -> Answer:
        if kept.request_sha256 != self._request_sha256:
            raise invalid(f"expected another {HEADER}: a different request was made with this one", HEADER)
        if kept.answer is None or kept.status is None:
            raise Problem(409, "idempotency_conflict", f"done before with this {HEADER}; its answer held a secret")
        return Answer(status=kept.status, body=kept.answer, headers={"Idempotent-Replayed": "true"})

    async def keep(self, conn: Connection, answer: Answer) -> None:
        """Keep the answer with what was done; one that carries a secret is not kept, only that it was given."""
        await set_tenant(conn, self._customer_id)  # a public route may have become somebody's meanwhile
        body = None if self._carries_secret else answer.body
        await update_key(conn, self._customer_id, self._key_sha256, status=answer.status, answer=body)
