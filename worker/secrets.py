"""Endpoints' secrets and headers, opened for an attempt and kept for the next ones."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import orjson

from bankfeed.db.delivery import ClaimedDelivery
from bankfeed.endpoints import sealed_of
from bankfeed.sealing import CannotOpen, Sealer

KEPT: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What signs a delivery, the current ones first, and the headers that its endpoint asked for."""

    secrets: tuple[str, ...] = field(repr=False)
    private_keys: tuple[str, ...] = field(repr=False, default=())
    headers: dict[str, str] = field(repr=False, default_factory=dict)


class Secrets:
    """Opens what is sealed, at most a thousand endpoints' kept open."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._opened: OrderedDict[tuple[str | None, ...], Opened] = OrderedDict()

    def open(self, claimed: ClaimedDelivery) -> Opened:
        """Open what a delivery is signed with. Raises CannotOpen."""
        sealed = (
            claimed.secret,
            claimed.previous_secret,
            claimed.signing_key,
            claimed.previous_signing_key,
            claimed.headers,
        )
        found = self._opened.get(sealed)
        if found is None:
            found = self._opened[sealed] = self._open(claimed)
            if len(self._opened) > KEPT:
                self._opened.popitem(last=False)
        else:
            self._opened.move_to_end(sealed)
        return found

    def _open(self, claimed: ClaimedDelivery) -> Opened:
        of = sealed_of(claimed.customer_id)
        return Opened(
            secrets=(self._sealer.open(claimed.secret, of=of), *self._open_previous(claimed.previous_secret, of)),
            private_keys=(
                self._sealer.open(claimed.signing_key, of=of),
                *self._open_previous(claimed.previous_signing_key, of),
            ),
            headers=orjson.loads(self._sealer.open(claimed.headers, of=of)) if claimed.headers else {},
        )

    def _open_previous(self, sealed: str | None, of: str) -> tuple[str, ...]:
        """Open what signs only until a rotation is over: where its key is lost, the current one signs alone."""
        try:
            return () if sealed is None else (self._sealer.open(sealed, of=of),)
        except CannotOpen:
            return ()
