"""The aggregator's JSON objects, built from the bank's values. Pure.

Money stays Decimal up to the encoder, which writes it as a JSON number digit by digit. Ids are numbers in a
transaction and text in an account, as the aggregator has it.
"""

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from bankfeed.sandbox.accounts import NAMES, Account, AccountKind
from bankfeed.sandbox.book import Customer, Login
from bankfeed.sandbox.challenges import Challenge, Question
from bankfeed.sandbox.forms import fields_of
from bankfeed.sandbox.institutions import Institution
from bankfeed.sandbox.lives import Sighting, Status
from bankfeed.sandbox.settings import CardSign
from bankfeed.sandbox.world import Row

ENCODER = msgspec.json.Encoder(decimal_format="number")
CARD_LIMIT = Decimal("8000.00")
FEATURES = ("transAgg", "voi", "voa", "aha", "availBalance")
NO_FEATURES = ("ach", "stateAgg", "accountOwner", "studentLoanData", "loanPaymentDetails", "liabilityData")


def epoch(at: datetime) -> int:
    """Return an instant as epoch seconds."""
    return int(at.timestamp())


def transaction_json(account: Account, row: Sighting, *, linked_at: datetime, card_sign: CardSign) -> dict[str, Any]:
    """Write one listed row. Fields without a value are left out."""
    is_flipped = account.kind is AccountKind.CARD and card_sign is CardSign.POSITIVE
    optional = {
        "memo": row.memo or None,
        "checkNum": row.check_number or None,
        "postedDate": epoch(row.posted_at) if row.posted_at and row.status is not Status.PENDING else None,
    }
    return {
        "id": row.id,
        "uniqueTransactionId": f"{account.id}-{row.id}",
        "amount": -row.amount if is_flipped else row.amount,
        "accountId": account.id,
        "customerId": account.customer_id,
        "status": row.status.value,
        "description": row.description,
        "type": row.kind,
        "transactionDate": epoch(row.dated_at),
        "createdDate": epoch(max(row.starts_at, linked_at)),
        "categorization": {
            "normalizedPayeeName": row.payee or row.description.title(),
            "category": row.category,
            "country": "USA",
        },
        **{name: value for name, value in optional.items() if value is not None},
    }


def account_json(account: Account, login: Login, *, balance: Decimal, rows: Sequence[Row]) -> dict[str, Any]:
    """Write one account as of its login's last aggregation; `rows` is what that listed, newest first."""
    number = account.number()
    dates = {}
    if rows:
        oldest_at, newest_at = rows[-1].sighting.dated_at, rows[0].sighting.dated_at
        dates = {"oldestTransactionDate": epoch(oldest_at), "lastTransactionDate": epoch(newest_at)}
    return {
        "id": str(account.id),
        "number": number,
        "accountNumberDisplay": number[-4:],
        "realAccountNumberLast4": number[-4:],
        "name": NAMES[account.kind],
        "accountNickname": NAMES[account.kind],
        "balance": balance,
        "balanceDate": epoch(login.succeeded_at),
        "type": account.kind.value,
        "aggregationStatusCode": login.status_code,
        "aggregationSuccessDate": epoch(login.succeeded_at),
        "aggregationAttemptDate": epoch(login.attempted_at),
        "status": "active",
        "customerId": str(account.customer_id),
        "institutionId": str(account.institution_id),
        "institutionLoginId": account.login_id,
        "createdDate": epoch(account.linked_at),
        "linkedAccountDate": epoch(account.linked_at),
        "lastUpdatedDate": epoch(login.succeeded_at),
        "marketSegment": "personal",
        "currency": "USD",
        "displayPosition": account.position,
        "detail": _detail(account, balance, rows),
        **dates,
    }


def pending_json(
    kind: AccountKind, *, account_id: int, number: str, position: int, visit_ids: tuple[int, int]
) -> dict[str, Any]:
    """Write an account that was discovered and not linked; `visit_ids` are customer and institution."""
    return {
        "id": str(account_id),
        "number": number,
        "accountNumberDisplay": number[-4:],
        "realAccountNumberLast4": number[-4:],
        "name": NAMES[kind],
        "type": kind.value,
        "status": "pending",
        "customerId": str(visit_ids[0]),
        "institutionId": str(visit_ids[1]),
        "currency": "USD",
        "displayPosition": position,
    }


def form_json(institution: Institution) -> list[dict[str, Any]]:
    """Write the form in which credentials are entered; its values are empty, whatever was entered before."""
    return [
        {
            "id": field.id_at(institution.id),
            "name": field.name,
            "description": field.name,
            "value": "",
            "displayOrder": order,
            "mask": "true" if field.is_masked else "false",
            "instructions": field.instructions,
        }
        for order, field in enumerate(fields_of(institution), start=1)
    ]


def challenge_json(challenge: Challenge) -> dict[str, Any]:
    """Write what is asked; pictures are PNG in Base64, `expiresAt` ends a token's code (epoch seconds)."""
    body: dict[str, Any] = {
        "type": challenge.kind.value,
        "questions": [_question(question) for question in challenge.questions],
    }
    return body if challenge.expires_at_s is None else body | {"expiresAt": challenge.expires_at_s}


def institution_json(institution: Institution) -> dict[str, Any]:
    """Write one institution. `migrationDate` (epoch seconds), while it migrates, is Finbank's own."""
    return {
        "id": institution.id,
        "name": institution.name,
        "displayName": institution.name,
        "class": "retail",
        "accountTypeDescription": institution.kind,
        "phone": institution.phone,
        "email": f"help@{institution.url.removeprefix('https://')}",
        "urlHomeApp": institution.url,
        "urlLogonApp": f"{institution.url}/login",
        "urlForgotPassword": f"{institution.url}/forgot",
        "urlOnlineRegistration": f"{institution.url}/register",
        "oauthEnabled": institution.is_oauth,
        "timeZone": institution.time_zone,
        "currency": "USD",
        "status": institution.status,
        "address": {"city": institution.city, "state": institution.state, "country": "USA"},
        **_notice(institution),
        **dict.fromkeys(FEATURES, True),
        **dict.fromkeys(NO_FEATURES, False),
    }


def customer_json(customer: Customer) -> dict[str, Any]:
    """Write one customer; its dates are text, unlike everywhere else."""
    optional = {
        "firstName": customer.first_name,
        "lastName": customer.last_name,
        "phone": customer.phone,
        "email": customer.email,
    }
    return {
        "id": str(customer.id),
        "username": customer.username,
        "type": "testing",
        "createdDate": str(epoch(customer.created_at)),
        "lastModifiedDate": str(epoch(customer.created_at)),
        **{name: value for name, value in optional.items() if value},
    }


def _notice(institution: Institution) -> dict[str, Any]:
    if institution.until is None:
        text = "Choose Allow on the bank's page." if institution.is_oauth else "Use demo and go to sign in."
        return {"specialText": text}
    instruction = "Sign in once more, on the bank's own page, to keep this connection."
    return {
        "specialText": f"This bank changes how you sign in. Do it by {institution.until:%Y-%m-%d}.",
        "specialInstructionsTitle": "Sign in again",
        "specialInstructions": [instruction],
        "migrationDate": epoch(institution.until),
    }


def _question(question: Question) -> dict[str, Any]:
    optional = {
        "choices": list(question.choices),
        "image": _base64(question.image),
        "imageChoices": [{"image": _base64(it.image), "value": it.value} for it in question.image_choices],
    }
    return {"text": question.text, **{name: value for name, value in optional.items() if value}}


def _base64(image: bytes) -> str:
    return b64encode(image).decode()


def _detail(account: Account, balance: Decimal, rows: Sequence[Row]) -> dict[str, Any]:
    held = sum((row.sighting.amount for row in rows if row.sighting.status is Status.PENDING), Decimal())
    available = balance + held
    if account.kind is AccountKind.CARD:
        return {"creditMaxAmount": CARD_LIMIT, "creditAvailableAmount": CARD_LIMIT + available}
    return {"availableBalanceAmount": available}
