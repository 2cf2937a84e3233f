"""The people of a customer: who there is, inviting, roles, locking, deleting. There is always an owner who can sign in."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bankfeed.db.session import delete_sessions
from bankfeed.db.user import (
    Invitation,
    Person,
    delete_user,
    find_person,
    insert_invited_user,
    list_active_owners,
    list_people,
    mark_user_invited,
    mark_user_locked,
    mark_user_unlocked,
    update_person,
)
from bankfeed.errors import BadRequest, NotFound
from bankfeed.people import read_email
from ingress.api.call import Call
from ingress.api.caller import Role
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, NoParams, Route, Scope, Wire, conflict, version_conflict
from ingress.api.sign_in import EMAIL_TAKEN, Email, Name
from ingress.api.tokens import INVITATION, hash_token, make_token

INVITATION_DAYS: Final = 7
TAG: Final = "Users"


class UserStatus(StrEnum):
    """How a person stands."""

    ACTIVE = "active"
    INVITED = "invited"
    LOCKED = "locked"


class UserRow(Wire):
    """A person of the customer."""

    id: int
    email: str
    name: str
    role: Annotated[Role, Meta(description="An owner governs people and keys, a reader only looks.")]
    status: Annotated[UserStatus, Meta(description="Invited: has no password yet.")]
    invite_expires_at: Annotated[datetime | None, Meta(description="Until when the open invitation counts.")]
    created_at: datetime
    version: int


class UserAnswer(Wire):
    """One person."""

    user: UserRow


class UserPage(Wire):
    """Some people, by id."""

    users: list[UserRow]
    next_cursor: str | None


class InvitationRow(Wire):
    """What is given to the invited person by other means: Bankfeed sends no mail."""

    token: Annotated[str, Meta(description="For POST /invitations/accept. Shown here only.")]
    expires_at: datetime


class InvitedAnswer(Wire):
    """A person, and the way in."""

    user: UserRow
    invitation: InvitationRow


class UserParams(Body):
    """Which person."""

    user_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="The person's id.")]


class UserListParams(Body):
    """Which page."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


class NewUser(Body):
    """Who is invited."""

    email: Email
    name: Name
    role: Annotated[Role, Meta(description="What the person may do.")]


class UserChange(Body):
    """What is to change; what is not given stays."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    role: Annotated[Role, Meta(description="What the person may do.")] | msgspec.UnsetType = msgspec.UNSET
    version: Annotated[int, Meta(ge=1, le=2**31 - 1, description="Change this version only.")] | None = None


async def get_me(call: Call, _: NoParams) -> UserAnswer:
    """Answer who one is."""
    assert call.caller.user_id is not None  # Scope.SELF is for people only
    return await _answer(call, call.caller.user_id)


async def list_users(call: Call, params: UserListParams) -> UserPage:
    """List the customer's people by id."""
    after_id = 0 if params.cursor is None else read_cursor(params.cursor, int)
    people = await list_people(call.conn, call.customer_id, after_id=after_id, limit=params.limit + 1)
    shown = people[: params.limit]
    return UserPage(
        users=[_show(person) for person in shown],
        next_cursor=write_cursor(shown[-1].id) if len(people) > params.limit else None,
    )


async def get_user(call: Call, params: UserParams) -> UserAnswer:
    """Answer one of the customer's people."""
    return await _answer(call, params.user_id)


async def invite_user(call: Call, _: NoParams, body: NewUser) -> InvitedAnswer:
    """Add somebody who has yet to come. One e-mail address is one person of the whole deployment."""
    email = read_email(body.email)
    token, invitation = _make_invitation(call)
    user_id = await insert_invited_user(
        call.conn,
        call.customer_id,
        email=email,
        name=body.name.strip(),
        role=body.role,
        invitation=invitation,
    )
    if user_id is None:
        raise conflict(EMAIL_TAKEN, field="email")
    call.target = f"userId={user_id}"
    return await _answer_invited(call, user_id, token, invitation)


async def invite_user_again(call: Call, params: UserParams) -> InvitedAnswer:
    """Put a new invitation in the place of the one before; also for a person who came and forgot the password."""
    person = await _get(call, params.user_id)
    token, invitation = _make_invitation(call)
    if not await mark_user_invited(call.conn, call.customer_id, person.id, invitation):
        raise conflict("the user is locked; unlock before inviting again")
    return await _answer_invited(call, person.id, token, invitation)


async def update_user(call: Call, params: UserParams, body: UserChange) -> UserAnswer:
    """Change a person's name or role."""
    name = None if isinstance(body.name, msgspec.UnsetType) else body.name.strip()
    role = None if isinstance(body.role, msgspec.UnsetType) else body.role
    if name is None and role is None:
        raise BadRequest("expected name or role to change")
    await _get(call, params.user_id)
    if role is not None and role is not Role.OWNER:
        await _keep_an_owner(call, params.user_id)
    if not await update_person(call.conn, call.customer_id, params.user_id, name=name, role=role, version=body.version):
        raise version_conflict((await _get(call, params.user_id)).version)
    return await _answer(call, params.user_id)


async def lock_user(call: Call, params: UserParams) -> UserAnswer:
    """Keep a person out: every session ends, and no password lets in. Safe to repeat."""
    await _get(call, params.user_id)
    await _keep_an_owner(call, params.user_id)
    await mark_user_locked(call.conn, call.customer_id, params.user_id)
    await delete_sessions(call.conn, call.customer_id, user_id=params.user_id)
    return await _answer(call, params.user_id)


async def unlock_user(call: Call, params: UserParams) -> UserAnswer:
    """Let a person in again, with the password there was. Safe to repeat."""
    await mark_user_unlocked(call.conn, call.customer_id, params.user_id)
    return await _answer(call, params.user_id)


async def remove_user(call: Call, params: UserParams) -> None:
    """Delete a person with all sessions; what the person did stays in the audit log."""
    await _keep_an_owner(call, params.user_id)
    if not await delete_user(call.conn, call.customer_id, params.user_id):
        raise _no_user(params.user_id)


# ------------------------------------------------------------------------------------------------ steps


async def _keep_an_owner(call: Call, user_id: int) -> None:
    """Refuse to take away the last owner who can sign in; hold the owners until commit."""
    if (user_id,) == await list_active_owners(call.conn, call.customer_id):
        raise conflict("this is the last owner who can sign in; make somebody else an owner first")


async def _get(call: Call, user_id: int) -> Person:
    person = await find_person(call.conn, call.customer_id, user_id)
    if person is None:
        raise _no_user(user_id)
    return person


async def _answer(call: Call, user_id: int) -> UserAnswer:
    return UserAnswer(user=_show(await _get(call, user_id)))


async def _answer_invited(call: Call, user_id: int, token: str, invitation: Invitation) -> InvitedAnswer:
    return InvitedAnswer(
        user=_show(await _get(call, user_id)),
        invitation=InvitationRow(token=token, expires_at=invitation.expires_at),
    )


def _make_invitation(call: Call) -> tuple[str, Invitation]:
    token = make_token(INVITATION, call.settings.environment)
    expires_at = datetime.now(UTC) + timedelta(days=INVITATION_DAYS)
    return token, Invitation(token_sha256=hash_token(token), expires_at=expires_at)


def _show(person: Person) -> UserRow:
    return UserRow(
        id=person.id,
        email=person.email,
        name=person.name,
        role=Role(person.role),
        status=_find_status(person),
        invite_expires_at=person.invite_expires_at,
        created_at=person.created_at,
        version=person.version,
    )


def _find_status(person: Person) -> UserStatus:
    if person.locked_at is not None:
        return UserStatus.LOCKED
    return UserStatus.ACTIVE if person.has_password else UserStatus.INVITED


def _no_user(user_id: int) -> NotFound:
    return NotFound(f"there is no user {user_id}")


ROUTES: Final = (
    Route(
        method="GET",
        path="/users/me",
        handle=get_me,
        summary="Who you are",
        tag=TAG,
        scope=Scope.SELF,
        answer=UserAnswer,
        is_versioned=True,
    ),
    Route(
        method="GET",
        path="/users",
        handle=list_users,
        summary="List people",
        tag=TAG,
        scope=Scope.PEOPLE_READ,
        params=UserListParams,
        answer=UserPage,
    ),
    Route(
        method="POST",
        path="/users",
        handle=invite_user,
        summary="Invite a person",
        text="Answers once with the invitation's token, which counts for 7 days: hand it over yourself, no mail is sent.",
        tag=TAG,
        scope=Scope.PEOPLE_WRITE,
        body=NewUser,
        answer=InvitedAnswer,
        status=201,
        errors={"conflict": 409},
        carries_secret=True,
    ),
    Route(
        method="GET",
        path="/users/{userId}",
        handle=get_user,
        summary="One person",
        tag=TAG,
        scope=Scope.PEOPLE_READ,
        params=UserParams,
        answer=UserAnswer,
        errors={"not_found": 404},
        is_versioned=True,
    ),
    Route(
        method="PATCH",
        path="/users/{userId}",
        handle=update_user,
        summary="Change a person's name or role",
        tag=TAG,
        scope=Scope.PEOPLE_WRITE,
        params=UserParams,
        body=UserChange,
        answer=UserAnswer,
        errors={"not_found": 404, "conflict": 409, "version_conflict": 409},
        is_versioned=True,
    ),
    Route(
        method="POST",
        path="/users/{userId}/invite",
        handle=invite_user_again,
        summary="Invite a person again",
        text="The invitation before counts no more. Also the way back for a person who forgot the password.",
        tag=TAG,
        scope=Scope.PEOPLE_WRITE,
        params=UserParams,
        answer=InvitedAnswer,
        errors={"not_found": 404, "conflict": 409},
        carries_secret=True,
    ),
    Route(
        method="POST",
        path="/users/{userId}/lock",
        handle=lock_user,
        summary="Lock a person out",
        text="Ends every session of the person. The last owner who can sign in cannot be locked.",
        tag=TAG,
        scope=Scope.PEOPLE_WRITE,
        params=UserParams,
        answer=UserAnswer,
        errors={"not_found": 404, "conflict": 409},
        is_versioned=True,
    ),
    Route(
        method="POST",
        path="/users/{userId}/unlock",
        handle=unlock_user,
        summary="Let a person in again",
        tag=TAG,
        scope=Scope.PEOPLE_WRITE,
        params=UserParams,
        answer=UserAnswer,
        errors={"not_found": 404},
        is_versioned=True,
    ),
    Route(
        method="DELETE",
        path="/users/{userId}",
        handle=remove_user,
        summary="Delete a person",
        text="The last owner who can sign in cannot be deleted. What the person did stays in the audit log.",
        tag=TAG,
        scope=Scope.PEOPLE_WRITE,
        params=UserParams,
        errors={"not_found": 404, "conflict": 409},
    ),
)
