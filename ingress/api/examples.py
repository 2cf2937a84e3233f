"""A body for each operation that takes one, as the description shows it. A test sends every one of them to a real server."""

from collections.abc import Mapping
from typing import Any, Final

EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "register": {
        "companyName": "Miller Bookkeeping",
        "name": "Ann Miller",
        "email": "ann@miller.example",
        "password": "correct horse battery",
    },
    "authenticate": {"email": "ann@miller.example", "password": "correct horse battery"},
    "changePassword": {"oldPassword": "correct horse battery", "newPassword": "staple correct horse"},
    "acceptInvitation": {"token": "bfi_sandbox_...", "name": "Bob Miller", "password": "battery staple horse"},
    "updateOwnCustomer": {"name": "Miller & Daughters", "shadowPolicy": "confirm"},
    "updateNotifications": {"email": "office@miller.example", "everyHours": 24, "clientsEveryHours": None},
    "inviteUser": {"email": "bob@miller.example", "name": "Bob Miller", "role": "employee"},
    "updateUser": {"role": "reader"},
    "makeKey": {"name": "nightly import", "scopes": ["clients:read", "transactions:read"]},
    "addClient": {
        "username": "harbor-cafe",
        "name": "Harbor Cafe",
        "email": "owner@harbor.example",
        "preferences": {"language": "en"},
    },
    "updateClient": {"phone": "+1 555 0100"},
    "openAddWidget": {"username": "harbor-cafe", "redirectUri": "https://app.miller.example/banks"},
    "openAddLiteWidget": {"clientId": 12, "institutionId": 3},
    "openFixWidget": {"bankAccountId": 5},
    "replaceRedirectUris": {"redirectUris": ["https://app.miller.example/banks", "http://localhost:8080/banks"]},
    "updateBankAccount": {"name": "House bank", "memo": "Ask Ann for the codes."},
    "openCase": {
        "bankAccountId": 5,
        "telephone": "+1 555 0100",
        "convenientTime": "weekdays after four",
        "note": "The bank sends its codes to Ann.",
        "tried": [{"step": "at_bank", "answer": "yes"}, {"step": "credentials", "answer": "failed"}],
    },
    "addCaseAction": {"owner": "client", "text": "Switch on codes by text message at the bank's own site."},
    "updateCaseAction": {"done": True},
    "closeCase": {"note": "The bank had an old telephone number."},
    "addLedgerAccount": {"clientId": 12, "code": "1000", "name": "Checking", "kind": "asset"},
    "importLedgerAccounts": {
        "clientId": 12,
        "csv": "code,name,kind\n6000,Office supplies,expense\n6100,Travel,expense\n",
    },
    "updateLedgerAccount": {"name": "Checking at the house bank"},
    "updateSubAccount": {"name": "Business checking", "ledgerAccountId": 7},
    "linkTransaction": {"entry": "INV-2026-0042"},
    "unlinkTransaction": {"entry": "INV-2026-0042"},
    "splitTransaction": {"amounts": ["-30.00", "-12.50"]},
    "mergeTransaction": {"into": 3402},
    "reconcileTransactions": {"transactionIds": [3403]},
    "bookTransaction": {"transactionId": 3404, "ledgerAccountId": 8, "memo": "Paper and pens"},
    "bookTransactions": {
        "items": [
            {
                "transactionId": 3405,
                "lines": [
                    {"ledgerAccountId": 8, "amount": "-30.00"},
                    {"ledgerAccountId": 9, "amount": "-12.50"},
                ],
            }
        ]
    },
    "decideDoubt": {"choice": 3407},
    "acceptBalanceGap": {"gap": "4.20"},
    "addWebhookEndpoint": {
        "url": "https://books.miller.example/hooks/bankfeed",
        "eventTypes": ["transactionsRefreshed", "bankAccountDeleted"],
        "description": "the books",
        "headers": {"X-Books": "miller"},
        "clientIds": [12],
        "maxConcurrent": 4,
        "isOrdered": True,
    },
    "updateWebhookEndpoint": {"description": "the books, new", "clientIds": None, "ratePerSecond": 20},
    "rotateEndpointSecret": {"overlapHours": 24},
    "disableWebhookEndpoint": {"reason": "the books move to another machine"},
    "enableWebhookEndpoint": {"backlog": "deliver"},
    "testWebhookEndpoint": {"eventType": "transactionsRefreshed"},
    "replayEvents": {
        "since": "2026-11-20T00:00:00Z",
        "until": "2026-11-21T00:00:00Z",
        "deliveries": "failed",
        "dryRun": True,
    },
}
