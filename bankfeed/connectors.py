"""The connectors that this deployment's settings make: what the worker pulls with and ingress links with."""

from typing import Final

from bankfeed.aggregators.finicity import CardSign, Finicity, FinicityConfig
from bankfeed.settings import Settings

CONNECTORS: Final = frozenset({"finicity"})
"""The words of all connectors that there are."""


def make_connectors(settings: Settings) -> dict[str, Finicity]:
    """Make every connector, by the word that stands in `sources.connector`. Call it inside a running loop; close each."""
    return {"finicity": Finicity(finicity_config(settings))}


def finicity_config(settings: Settings) -> FinicityConfig:
    """Make the configuration of Finicity's connector from the settings."""
    return FinicityConfig(
        base_url=settings.finicity_url,
        partner_id=settings.finicity_partner_id,
        partner_secret=settings.finicity_partner_secret.reveal(),
        app_key=settings.finicity_app_key.reveal(),
        customer_kind="active" if settings.finicity_customer_kind == "active" else "testing",
        card_sign=CardSign(settings.finicity_card_sign),
        bank_refresh_timeout_s=settings.bank_refresh_s,
        has_own_widget=settings.finicity_widget == "theirs",
    )
