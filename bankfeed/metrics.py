"""Every metric, declared once. The table in deploy/README.md is the contract for dashboards.

Labels come from closed lists only: no account, URL or tenant.
"""

from prometheus_client import Counter, Gauge, Histogram

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)

WEBHOOKS_RECEIVED = Counter(
    "bankfeed_webhooks_received_total",
    "Webhooks that came in, by the sender's dialect, event type and what became of them.",
    ("dialect", "event", "outcome"),
)
INGRESS_SECONDS = Histogram(
    "bankfeed_ingress_seconds", "Time from a webhook's headers to its answer.", buckets=_LATENCY_S
)
API_REQUESTS = Counter(
    "bankfeed_api_requests_total",
    "Requests at the REST API, by operation and class of status.",
    ("operation", "status_class"),
)
API_SECONDS = Histogram(
    "bankfeed_api_seconds", "Time from an API request's headers to its answer.", ("operation",), buckets=_LATENCY_S
)
INBOX_BACKLOG = Gauge("bankfeed_inbox_backlog", "Inbound events, by state (waiting, set_aside).", ("state",))
INBOX_OLDEST = Gauge("bankfeed_inbox_oldest_age_seconds", "Age of the oldest inbound event that waits.")
INBOX_WAIT = Histogram(
    "bankfeed_inbox_wait_seconds",
    "Time from an inbound event's arrival to the claim that hands it over.",
    buckets=_LATENCY_S,
)
INBOX_HANDLED = Counter(
    "bankfeed_inbox_handled_total", "Inbound events taken from the inbox, by what became of them.", ("outcome",)
)
REFRESH_SECONDS = Histogram(
    "bankfeed_refresh_seconds", "Time of one refresh of a connection.", ("outcome",), buckets=_LATENCY_S
)
REFRESH_COALESCED = Counter(
    "bankfeed_refresh_coalesced_total", "Requests for a refresh that an earlier one will serve."
)
REPAIR_SECONDS = Histogram(
    "bankfeed_connection_repair_seconds",
    "Time from a connection's break to its repair; its count is that of the repairs.",
    buckets=(60, 300, 900, 3600, 21_600, 86_400, 259_200, 604_800, 2_592_000),
)
CONNECTIONS_DUE = Gauge("bankfeed_connections_due", "Connections that wait for a refresh.")
CONNECTIONS_OLDEST = Gauge(
    "bankfeed_connections_oldest_due_age_seconds", "How long the connection that is due the longest has been due."
)
INSTITUTION_BREAKERS = Gauge(
    "bankfeed_institution_breaker_state",
    "Institutions that are not simply refreshed at, by state (open, half_open).",
    ("state",),
)
LINKS_REFUSED = Counter(
    "bankfeed_links_refused_total", "Logins not linked: a sandbox links pretend banks only, and live never does."
)
INSTITUTION_LISTINGS = Counter(
    "bankfeed_institution_listings_total",
    "Times that an aggregator's list of institutions was read, by outcome (whole, partial, failed).",
    ("outcome",),
)
NOTICES_TOLD = Counter(
    "bankfeed_institution_notices_told_total",
    "Connections whose customers were told that their institution is out of order, migrates, or is back.",
)
TRANSACTIONS = Counter(
    "bankfeed_transactions_total", "Changes of transactions that were committed, by kind.", ("change",)
)
PULLS = Counter("bankfeed_pulls_total", "Listings of an account, by outcome.", ("outcome",))
BANK_REFRESHES = Counter(
    "bankfeed_bank_refreshes_total",
    "Bank refreshes that ended, by kind and outcome (done, failed).",
    ("kind", "outcome"),
)
BANK_REFRESH_SECONDS = Histogram(
    "bankfeed_bank_refresh_seconds",
    "Time from a person's click to the end of a bank refresh, by kind.",
    ("kind",),
    buckets=(1, 2.5, 5, 15, 30, 60, 120, 300, 600, 1800),
)
DELIVERIES = Counter(
    "bankfeed_deliveries_total", "Delivery attempts, by outcome and class of status.", ("outcome", "status_class")
)
DELIVERY_SECONDS = Histogram("bankfeed_delivery_seconds", "Time of one delivery attempt.", buckets=_LATENCY_S)
DELIVERY_ATTEMPT = Histogram(
    "bankfeed_delivery_attempt_number", "Number of the attempt that ended a delivery.", buckets=tuple(range(1, 16))
)
REMOVALS = Counter(
    "bankfeed_removals_total", "Tries to delete something at the aggregator, by what and outcome.", ("kind", "outcome")
)
MAILS = Counter(
    "bankfeed_mails_total", "Tries to send an e-mail, by outcome (sent, later, failed, unwanted, lost).", ("outcome",)
)
ERASED_ROWS = Counter("bankfeed_erased_rows_total", "Rows of deleted clients that were erased, with what hung on them.")
UNOPENED_SECRETS = Counter(
    "bankfeed_unopened_secrets_total", "Deliveries put off because no key at hand opens their endpoint's secret."
)
OUTBOX_BACKLOG = Gauge(
    "bankfeed_outbox_backlog",
    "Deliveries that wait for an attempt, by state (due, later), each counted up to 100,000.",
    ("state",),
)
BREAKERS = Gauge(
    "bankfeed_endpoint_breaker_state",
    "Endpoints that are not simply delivered to, by state (throttled, open, half_open).",
    ("state",),
)
ENDPOINTS_DISABLED = Counter(
    "bankfeed_endpoints_disabled_total", "Endpoints that were disabled because of what they answered."
)
OUTBOX_OLDEST = Gauge("bankfeed_outbox_oldest_due_age_seconds", "How long the oldest due delivery has been due.")
LEASES_EXPIRED = Counter(
    "bankfeed_leases_expired_total", "Claims that ended without being given back, by kind.", ("kind",)
)
REDIS_UP = Gauge("bankfeed_redis_up", "1 while the last wake-up reached Redis.")
POOL_IN_USE = Gauge("bankfeed_db_pool_in_use", "Postgres connections in use, by pool.", ("pool",))
