"""Finbank: a pretend bank and a pretend aggregator, for trying and testing Bankfeed without anybody's money.

One process (`python -m bankfeed.sandbox`) that speaks Finicity's wire format, plus a control API under `/finbank/`.
It is a separate company in all but the repository: nothing else imports it, and it shares no state with the product.
"""
