"""Coming in and going out: registering, signing in and out, one's password, accepting an invitation.

Nobody learns here which e-mail addresses exist, but for one thing: an address that somebody has cannot register again.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Final

from msgspec import Meta

from bankfeed.db.audit import insert_audit
from bankfeed.db.customer import insert_customer
from bankfeed.db.database import set_tenant
from bankfeed.db.session import delete_expired_sessions, delete_session, delete_sessions, insert_session
from bankfeed.db.sign_in import delete_failures, give_try_back, take_try
from bankfeed.db.user import (
    find_invitation,
    find_password,
    find_person,
    find_user,
    insert_user,
    mark_user_accepted,
    update_password,
)
from bankfeed.errors import BadRequest, NotFound, Unavailable
from bankfeed.model import CustomerId
from bankfeed.people import MAX_EMAIL_CHARS, MAX_PASSWORD_CHARS, check_password, clean_email, is_email, read_email
from ingress.api.call import Call
from ingress.api.route import Body, NoParams, Problem, Route, Scope, Wire, conflict
from ingress.api.tokens import SESSION, hash_token, make_token

Email = Annotated[str, Meta(max_length=MAX_EMAIL_CHARS, description="An e-mail address, in any case of letters.")]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S", description="A person's name.")]
FirmName = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S", description="The firm's name.")]
Password = Annotated[str, Meta(max_length=MAX_PASSWORD_CHARS, description="The password.")]
NewPassword = Annotated[
    str, Meta(max_length=MAX_PASSWORD_CHARS, description="10 to 200 characters, and not the e-mail address.")
]
EMAIL_TAKEN: Final = "this e-mail address cannot be used"


class Registration(Body):
    """A firm, and its first person, who becomes its owner."""

    company_name: FirmName
    name: Name
    email: Email
    password: NewPassword


class Credentials(Body):
    """Who wants to sign in."""

    email: Email
    password: Password


class PasswordChange(Body):
    """One's own password, as it is and as it is to be."""

    old_password: Password
    new_password: NewPassword


class Acceptance(Body):
    """An invitation's token, and with what the person comes."""

    token: Annotated[str, Meta(max_length=100, description="The invitation's token.")]
    name: Name
    password: NewPassword


class SignedIn(Wire):
    """A token for the header Authorization: Bearer."""

    token: Annotated[str, Meta(description="Shown here only.")]
    expires_at: Annotated[datetime, Meta(description="Until when it counts.")]


async def register(call: Call, _: NoParams, body: Registration) -> SignedIn:
    """Make a customer of this environment with its owner, and sign the owner in."""
    if call.settings.registration != "open":
        raise Problem(403, "registration_closed", "nobody registers here; ask who runs this Bankfeed for an account")
    email = read_email(body.email)
    check_password(body.password, email=email)
    if await find_user(call.conn, email) is not None:
        raise conflict(EMAIL_TAKEN, field="email")
    password_hash = await call.services.passwords.hash(body.password)
    customer_id = await insert_customer(
        call.conn, name=body.company_name.strip(), environment=call.settings.environment
    )
    user_id = await insert_user(
        call.conn, customer_id, email=email, password_hash=password_hash, name=body.name.strip(), role="owner"
    )
    if user_id is None:  # somebody was faster
        raise conflict(EMAIL_TAKEN, field="email")
    return await _sign_in(call, customer_id, user_id, password_hash=password_hash, action="person.registered")


async def authenticate(call: Call, _: NoParams, body: Credentials) -> SignedIn:
    """Sign in. Whatever is wrong, the answer and the time are the same; wrong ones in a row have to wait longer and longer."""
    email = clean_email(body.email)
    user = await find_user(call.conn, email) if is_email(email) else None
    is_right = await _check_password(call, email, user.password_hash if user else None, body.password)
    if user is None or user.password_hash is None or user.is_locked or not is_right:
        raise _wrong_credentials()
    await _forget_failures(call, email)
    _require_environment(call, user.environment)
    return await _sign_in(call, user.customer_id, user.id, password_hash=user.password_hash, action="person.signed_in")


async def logout(call: Call, _: NoParams) -> None:
    """End the session of the token that this comes with."""
    await delete_session(call.conn, call.customer_id, call.caller.token_sha256)


async def change_password(call: Call, _: NoParams, body: PasswordChange) -> SignedIn:
    """Change one's own password: every session ends, this one too, and the answer holds the token of a new one."""
    user_id = _get_user_id(call)
    found = await find_password(call.conn, call.customer_id, user_id)
    if found is None or found[1] is None:
        raise NotFound("you are no user any more")
    email, old_hash = found[0], found[1]
    check_password(body.new_password, email=email, field="newPassword")
    if not await _check_password(call, email, old_hash, body.old_password):
        raise BadRequest("expected your password as it is now", field="oldPassword")
    await _forget_failures(call, email)
    new_hash = await call.services.passwords.hash(body.new_password)
    if not await update_password(call.conn, call.customer_id, user_id, old_hash=old_hash, new_hash=new_hash):
        raise conflict("the password was changed meanwhile; sign in with the new one")
    await delete_sessions(call.conn, call.customer_id, user_id=user_id)
    return await _begin_session(call, call.customer_id, user_id, password_hash=new_hash)


async def accept_invitation(call: Call, _: NoParams, body: Acceptance) -> SignedIn:
    """Come in by an invitation: it counts once, and gives the person a password. Earlier sessions end."""
    token_sha256 = hash_token(body.token)
    invited = await find_invitation(call.conn, token_sha256)
    if invited is None:
        raise _no_invitation()
    _require_environment(call, invited.environment)
    await set_tenant(call.conn, invited.customer_id)
    person = await find_person(call.conn, invited.customer_id, invited.id)
    if person is None:
        raise _no_invitation()
    check_password(body.password, email=person.email)
    password_hash = await call.services.passwords.hash(body.password)
    user_id = await mark_user_accepted(
        call.conn,
        invited.customer_id,
        token_sha256=token_sha256,
        password_hash=password_hash,
        name=body.name.strip(),
    )
    if user_id is None:  # used or withdrawn meanwhile
        raise _no_invitation()
    await delete_sessions(call.conn, invited.customer_id, user_id=user_id)
    return await _sign_in(call, invited.customer_id, user_id, password_hash=password_hash, action="person.accepted")


# ------------------------------------------------------------------------------------------------ steps


async def _check_password(call: Call, email: str, password_hash: str | None, password: str) -> bool:
    """Tell whether the password is right, where this address may try now. Raises Problem 429 where it has to wait.

    The try is committed before the password is looked at, in a transaction of its own: it counts whatever becomes of the
    request, and many at the same moment are no way around.
    """
    name = _name(email)
    async with call.services.database.queue() as conn:
        wait_s = await take_try(conn, name)
    if wait_s:
        message = f"too many wrong passwords in a row; wait {wait_s} s"
        raise Problem(429, "locked_out", message, headers={"Retry-After": str(wait_s)})
    try:
        return await call.services.passwords.verify(password_hash, password)
    except Unavailable:
        async with call.services.database.queue() as conn:
            await give_try_back(conn, name)
        raise


async def _forget_failures(call: Call, email: str) -> None:
    async with call.services.database.queue() as conn:
        await delete_failures(conn, _name(email))


async def _sign_in(call: Call, customer_id: CustomerId, user_id: int, *, password_hash: str, action: str) -> SignedIn:
    """Begin a session of somebody who was nobody so far, and write who it is."""
    await set_tenant(call.conn, customer_id)
    signed_in = await _begin_session(call, customer_id, user_id, password_hash=password_hash)
    await insert_audit(
        call.conn,
        customer_id,
        actor=f"user:{user_id}",
        action=action,
        target=f"userId={user_id}",
        remote=call.remote,
        request_id=call.request_id,
    )
    return signed_in


async def _begin_session(call: Call, customer_id: CustomerId, user_id: int, *, password_hash: str) -> SignedIn:
    token = make_token(SESSION, call.settings.environment)
    expires_at = datetime.now(UTC) + timedelta(hours=call.settings.token_hours)
    await delete_expired_sessions(call.conn, customer_id, user_id=user_id)
    if not await insert_session(
        call.conn,
        customer_id,
        user_id=user_id,
        password_hash=password_hash,
        token_sha256=hash_token(token),
        expires_at=expires_at,
    ):
        raise _wrong_credentials()  # locked, or the password changed, since it was looked at
    return SignedIn(token=token, expires_at=expires_at)


def _require_environment(call: Call, environment: str) -> None:
    ours = call.settings.environment
    if environment != ours:
        raise Problem(401, "wrong_environment", f"this is {ours}; the account is one of {environment}")


def _get_user_id(call: Call) -> int:
    assert call.caller.user_id is not None  # Scope.SELF is for people only
    return call.caller.user_id


def _name(email: str) -> bytes:
    return sha256(email.encode(errors="replace")).digest()


def _wrong_credentials() -> Problem:
    return Problem(401, "wrong_credentials", "the e-mail address or the password is not right")


def _no_invitation() -> NotFound:
    return NotFound("there is no such invitation; it may have been used, or be over")


WAITS: Final = {"locked_out": 429}
ROUTES: Final = (
    Route(
        method="POST",
        path="/register",
        handle=register,
        summary="Register a firm",
        text="Makes a customer and its owner, and signs the owner in. Only where this deployment lets anybody register.",
        tag="Sign-in",
        scope=None,
        body=Registration,
        answer=SignedIn,
        status=201,
        errors={"registration_closed": 403, "conflict": 409},
        carries_secret=True,
    ),
    Route(
        method="POST",
        path="/authenticate",
        handle=authenticate,
        summary="Sign in",
        text="Answers with a token that lasts some hours. After several wrong passwords in a row the next try has to wait.",
        tag="Sign-in",
        scope=None,
        body=Credentials,
        answer=SignedIn,
        errors={"wrong_credentials": 401, "wrong_environment": 401, **WAITS},
        carries_secret=True,
    ),
    Route(
        method="POST",
        path="/logout",
        handle=logout,
        summary="Sign out",
        text="Ends the session of the token that the request comes with.",
        tag="Sign-in",
        scope=Scope.SELF,
    ),
    Route(
        method="POST",
        path="/password",
        handle=change_password,
        summary="Change your password",
        text="Ends every session of yours, this one too; the answer holds the token of a new one.",
        tag="Sign-in",
        scope=Scope.SELF,
        body=PasswordChange,
        answer=SignedIn,
        errors={"conflict": 409, **WAITS},
        carries_secret=True,
    ),
    Route(
        method="POST",
        path="/invitations/accept",
        handle=accept_invitation,
        summary="Accept an invitation",
        text="Gives the invited person a name and a password, and signs the person in. An invitation counts once.",
        tag="Sign-in",
        scope=None,
        body=Acceptance,
        answer=SignedIn,
        errors={"not_found": 404, "wrong_environment": 401},
        carries_secret=True,
    ),
)
