"""How Finbank says no: the aggregator's error codes with the HTTP status they come with. Pure: values."""

from typing import Any


class Refusal(Exception):
    """The request is refused; the caller gets the status, the aggregator's code and its message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def body(self) -> dict[str, Any]:
        """Return the error body: aggregation codes are numbers, all others text, as the aggregator mixes them."""
        is_aggregation_code = self.status in {408, 500}
        return {"code": self.code if is_aggregation_code else str(self.code), "message": self.message}


def bad_request(message: str) -> Refusal:
    """Refuse what cannot be read."""
    return Refusal(400, 14020, f"Bad request. {message}".strip())


def missing_parameter(name: str) -> Refusal:
    """Refuse a request that lacks a parameter."""
    return Refusal(400, 10005, f"Missing parameter ({name})")


def invalid_parameter(name: str) -> Refusal:
    """Refuse a parameter that cannot be read."""
    return Refusal(400, 10100, f"Invalid parameter ({name})")


def no_such_customer() -> Refusal:
    """Refuse a customer id that is not known."""
    return Refusal(404, 14001, "Customer not found.")


def no_such_account(customer_id: int, account_id: int) -> Refusal:
    """Refuse an account that this customer does not have."""
    return Refusal(
        404,
        38003,
        f"customer does not have given account (customerId = {customer_id}, accountId = [{account_id}])",
    )


def no_account_for_login() -> Refusal:
    """Refuse a login that this customer does not have."""
    return Refusal(404, 38007, "Customer does not have any accounts associated with institutionLoginId.")


def no_such_institution() -> Refusal:
    """Refuse an institution id that is not known."""
    return Refusal(404, 14006, "Institution not found.")


def session_over() -> Refusal:
    """Refuse a session that is unknown, another's, used or too old: start again."""
    return Refusal(408, 331, "The session is over. Start again.")


def unfinished_consent(code: int, message: str) -> Refusal:
    """Refuse a consent that was not given: 10814 where it was declined, 12003 where it is not there."""
    return Refusal(400, code, f"Incomplete authorization. {message}")


def aggregation_failed(code: int) -> Refusal:
    """Report that the bank did not let the aggregator in: always HTTP 500, the reason in the code."""
    return Refusal(500, code, f"The institution answered the aggregation with code {code}.")
