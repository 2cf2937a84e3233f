"""The partner's access: credentials in, tokens out, and the lock after five wrong tries.

A token says when it was issued and carries a MAC, so tokens outlive a restart and nothing is stored.
"""

import hashlib
import hmac
from dataclasses import dataclass

from bankfeed.sandbox.refusals import Refusal

TOKEN_LIFE_MS = 2 * 60 * 60 * 1000
TRIES = 5


@dataclass(slots=True, kw_only=True)
class Access:
    """Who may call. `valid_from_ms` is moved to end every token issued so far; `failures` locks the partner at five."""

    partner_id: str
    partner_secret: str
    app_key: str
    valid_from_ms: int = 0
    failures: int = 0

    def issue(self, partner_id: str, partner_secret: str, *, now_ms: int) -> str:
        """Return a token for right credentials; refuse wrong ones with 10001, and everything once locked (24302)."""
        self._refuse_when_locked()
        is_right = _equal(partner_id, self.partner_id) and _equal(partner_secret, self.partner_secret)
        if not is_right:
            self.failures += 1
            raise Refusal(401, 10001, "Invalid credentials")
        self.failures = 0
        return f"{now_ms:x}-{self._mac(now_ms)}"

    def check_key(self, app_key: str | None) -> None:
        """Refuse a missing (10026) or wrong (10027) App-Key."""
        if not app_key:
            raise Refusal(401, 10026, "Missing parameter (Finicity-App-Key)")
        if not _equal(app_key, self.app_key):
            raise Refusal(401, 10027, "Invalid parameter (Finicity-App-Key)")

    def check_token(self, token: str | None, *, now_ms: int) -> None:
        """Refuse a missing (10024), wrong (10022) or expired (10023) token, and everything once locked (24302)."""
        self._refuse_when_locked()
        if not token:
            raise Refusal(401, 10024, "Missing parameter (Finicity-App-Token)")
        issued_text, _, mac = token.partition("-")
        issued_ms = int(issued_text, 16) if _is_hex(issued_text) else 0
        if not _equal(mac, self._mac(issued_ms)):
            raise Refusal(401, 10022, "Invalid (Finicity-App-Token)")
        if now_ms - issued_ms >= TOKEN_LIFE_MS or issued_ms < self.valid_from_ms:
            raise Refusal(401, 10023, "Expired (Finicity-App-Token)")

    def expire_all(self, *, now_ms: int) -> None:
        """End every token issued so far."""
        self.valid_from_ms = now_ms + 1

    def _refuse_when_locked(self) -> None:
        if self.failures >= TRIES:
            raise Refusal(401, 24302, "Bad credentials")

    def _mac(self, issued_ms: int) -> str:
        key = f"{self.partner_secret}|{self.app_key}".encode()
        return hmac.new(key, str(issued_ms).encode(), hashlib.sha256).hexdigest()[:40]


def _is_hex(text: str) -> bool:
    return 0 < len(text) <= 16 and all(letter in "0123456789abcdef" for letter in text)


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())
