"""Which credentials the pretend bank takes, after FinBank's published table. Pure."""

from bankfeed.sandbox.refusals import aggregation_failed, bad_request

RIGHT_PASSWORD = "go"  # noqa: S105  published, and guards nothing
FAILING_PASSWORDS = {"123", "125", "127", "128", "130"}
CHALLENGED_USERS = {"tfa_text", "tfa_image", "tfa_choice", "tfa_multi", "discovertimeout"}
CHALLENGED_PASSWORDS = {"imagechoice", "imagechoice2"}
INVALID_CREDENTIALS = 103


def check_credentials(username: str, password: str) -> None:
    """Let any username in with the password "go"; refuse with the documented codes otherwise.

    Different usernames are different logins with accounts of their own.
    """
    if not username:
        raise bad_request("expected a username")
    if username in CHALLENGED_USERS or password in CHALLENGED_PASSWORDS:
        raise bad_request(
            f"Finbank asks no security questions yet, so {username!r} with this password cannot be linked: "
            "demo/go works, and so does any other username with the password go; invalid_user fails with 103, "
            "the passwords 123, 125, 127, 128 and 130 with their own code."
        )
    if password in FAILING_PASSWORDS:
        raise aggregation_failed(int(password))
    if username == "invalid_user" or password != RIGHT_PASSWORD:
        raise aggregation_failed(INVALID_CREDENTIALS)
