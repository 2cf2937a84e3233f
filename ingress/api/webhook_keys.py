"""The public keys that sign a webhook endpoint's deliveries, for whoever checks them: no sign-in, nothing secret."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from bankfeed.db.webhook_key import list_public_keys
from bankfeed.errors import NotFound
from ingress.api.call import Call
from ingress.api.route import Body, Route, Wire


class PublicKeyRow(Wire):
    """A public key."""

    public_key: Annotated[str, Meta(description="whpk_ and the Ed25519 key in base64 (Standard Webhooks v1a).")]
    signs_until: Annotated[
        datetime | None, Meta(description="Until when it signs, after a rotation; null: it is the current one.")
    ]


class PublicKeysAnswer(Wire):
    """Every key that signs now, the current one first. A delivery is signed with each of them."""

    public_keys: list[PublicKeyRow]


class WebhookKeysParams(Body):
    """Whose deliveries are checked."""

    endpoint_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="The endpoint's id.")]


async def list_webhook_keys(call: Call, params: WebhookKeysParams) -> PublicKeysAnswer:
    """List the public keys of an endpoint that was not deleted."""
    found = await list_public_keys(call.conn, params.endpoint_id)
    if not found:
        raise NotFound(f"there is no webhook endpoint {params.endpoint_id}")
    return PublicKeysAnswer(
        public_keys=[PublicKeyRow(public_key=each.public_key, signs_until=each.signs_until) for each in found]
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/webhook-keys/{endpointId}",
        handle=list_webhook_keys,
        summary="List the public keys of a webhook endpoint",
        tag="Webhooks",
        scope=None,
        params=WebhookKeysParams,
        answer=PublicKeysAnswer,
        text="For whoever checks the signature v1a of Standard Webhooks, without sign-in. Each delivery is signed with every "
        "key listed, and with the endpoint's secret (v1). Keep them, and ask again when none of them verifies; trust no key "
        "that comes with a message.",
    ),
)
