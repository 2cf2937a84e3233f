"""The widget's addresses: the signed one that opens it once, the page's own, and what comes back from a bank. No I/O.

The parameters of the first are those of the LedgerSync document's example: customerId, redirectUri, timestamp and ttl in
milliseconds, type, webhook, webhookContentType, and a signature of 64 hexadecimal digits over all the others.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from bankfeed.links import Signer
from bankfeed.model import CustomerId

LIFE_S: Final = 7_200
OPENING: Final = "/widget"
MOST_PARAMETERS: Final = 20
_FOR_OPENING: Final = "widget opening"
_FOR_PAGE: Final = "widget page"
_FOR_CONSENT: Final = "widget consent"
_FOR_PROOF: Final = "widget consent proof"


class Bad(StrEnum):
    """Why an address opens nothing."""

    ALTERED = "altered"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What an opening address says."""

    customer_id: CustomerId
    session_id: UUID
    made_at: datetime
    expires_at: datetime
    redirect_uri: str = ""
    webhook: str = ""


def write_opening(signer: Signer, base: str, opening: Opening) -> str:
    """Write the address that opens a session."""
    parameters = {
        "customerId": str(opening.customer_id),
        "sessionId": str(opening.session_id),
        "type": "aggregation",
        "timestamp": str(_ms(opening.made_at)),
        "ttl": str(_ms(opening.expires_at)),
    }
    parameters |= {"redirectUri": opening.redirect_uri} if opening.redirect_uri else {}
    parameters |= {"webhook": opening.webhook, "webhookContentType": "application/json"} if opening.webhook else {}
    query = urlencode(sorted(parameters.items()))
    return f"{base}{OPENING}?{query}&signature={signer.sign(query, for_use=_FOR_OPENING)}"


def read_opening(signer: Signer, query: str, *, now: datetime) -> tuple[CustomerId, UUID] | Bad:
    """Read what comes after the ? of an opening address: whose it is and which session; whether that was opened is not asked.

    What was signed are the parameters, not how they are written: programs that pass addresses on order and escape them anew.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        return Bad.ALTERED
    said = sorted((name, text) for name, text in pairs if name != "signature")
    signatures = [text for name, text in pairs if name == "signature"]
    if len(signatures) != 1 or not signer.is_signed(urlencode(said), signatures[0], for_use=_FOR_OPENING):
        return Bad.ALTERED
    parameters = dict(said)
    if int(parameters["ttl"]) <= _ms(now):
        return Bad.EXPIRED
    return CustomerId(int(parameters["customerId"])), UUID(parameters["sessionId"])


def write_page_token(signer: Signer, customer_id: CustomerId, session_id: UUID) -> str:
    """Write what names a session's page in its path: nobody guesses it, and who has it needs no cookie (frames have none)."""
    return _write(signer, customer_id, session_id, _FOR_PAGE)


def read_page_token(signer: Signer, token: str) -> tuple[CustomerId, UUID] | None:
    """Read whose page a token names; None where it is none of ours."""
    return _read(signer, token, _FOR_PAGE)


def write_consent_state(signer: Signer, customer_id: CustomerId, session_id: UUID) -> str:
    """Write the state that a bank's page brings back; it opens no page, because banks and aggregators see it."""
    return _write(signer, customer_id, session_id, _FOR_CONSENT)


def read_consent_state(signer: Signer, state: str) -> tuple[CustomerId, UUID] | None:
    """Read whose consent came back; None where the state is none of ours."""
    return _read(signer, state, _FOR_CONSENT)


def write_consent_proof(signer: Signer, session_id: UUID, consent: str) -> str:
    """Write what a browser keeps that goes to a bank's page: another one cannot bring back that consent."""
    return signer.sign(f"{session_id} {consent}", for_use=_FOR_PROOF)


def is_consent_proof(signer: Signer, session_id: UUID, consent: str, proof: str) -> bool:
    """Tell whether a browser went to a bank's page for this consent."""
    return signer.is_signed(f"{session_id} {consent}", proof, for_use=_FOR_PROOF)


def _write(signer: Signer, customer_id: CustomerId, session_id: UUID, for_use: str) -> str:
    named = f"{customer_id}.{session_id}"
    return f"{named}.{signer.sign(named, for_use=for_use)}"


def _read(signer: Signer, token: str, for_use: str) -> tuple[CustomerId, UUID] | None:
    named, _, signature = token.rpartition(".")
    if not named or not signer.is_signed(named, signature, for_use=for_use):
        return None
    customer_id, _, session_id = named.partition(".")
    return CustomerId(int(customer_id)), UUID(session_id)


def _ms(at: datetime) -> int:
    return round(at.astimezone(UTC).timestamp() * 1000)
