"""From a request's text to the structs of its route: path, query and body. What does not fit names its field.

The body is bounded while it streams, arrives in time, is not compressed, and is JSON.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

import msgspec
from aiohttp import ClientError, web

from bankfeed.errors import BadRequest
from ingress.api.route import Body, Problem, Route

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
JSON: Final = "application/json"
_AT: Final = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")
_NAMED: Final = re.compile(r"field `(?P<name>[^`]*)`")


def read_params(route: Route, *, path: Mapping[str, str], query: Iterable[tuple[str, str]]) -> Body:
    """Return the path parameters and the query as the route's struct. A list is repeated or separated by commas.

    Raises Problem 422 naming the field.
    """
    lists = _list_fields(route.params)
    values: dict[str, Any] = {}
    for name, text in query:
        if name in lists:
            values.setdefault(name, []).extend(part for part in text.split(",") if part)
        elif name in values or name in path:
            raise invalid(f"expected {name} once", name)
        else:
            values[name] = text
    try:
        return msgspec.convert(values | dict(path), type=route.params, strict=False)
    except msgspec.ValidationError as error:
        raise _refuse(error) from error


@cache
def _list_fields(params: type[Body]) -> frozenset[str]:
    """Name the fields of a struct that take several values."""
    kinds = (msgspec.inspect.ListType, msgspec.inspect.VarTupleType, msgspec.inspect.SetType)
    info = msgspec.inspect.type_info(params)
    assert isinstance(info, msgspec.inspect.StructType)
    found = set()
    for field in info.fields:
        if any(isinstance(option, kinds) for option in _list_options(field.type)):
            found.add(field.encode_name)
    return frozenset(found)


def _list_options(kind: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, ...]:
    """List what a type may be, without its descriptions."""
    if isinstance(kind, msgspec.inspect.Metadata):
        return _list_options(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return tuple(option for each in kind.types for option in _list_options(each))
    return (kind,)


async def read_body(request: web.Request, *, limit_s: float) -> bytes:
    """Return the raw body. Raises Problem (413, 415, 408) and BadRequest."""
    if any(each.lower() != "identity" for each in request.headers.getall("Content-Encoding", ())):
        raise Problem(415, "unsupported_media_type", "expected a body without Content-Encoding")
    body = bytearray()
    try:
        async with asyncio.timeout(limit_s):
            while len(body) <= MAX_BODY_BYTES and (chunk := await request.content.readany()):
                body += chunk
    except TimeoutError as error:
        raise Problem(408, "too_slow", f"expected the body within {limit_s:g} s") from error
    except (ConnectionError, ClientError) as error:
        raise BadRequest("the caller left before the body was there") from error
    if len(body) > MAX_BODY_BYTES:
        raise Problem(413, "too_large", f"expected a body of at most {MAX_BODY_BYTES:,} bytes")
    return bytes(body)


def decode_body(route: Route, body: bytes, *, content_type: str, version: int | None) -> Body | None:
    """Return a body as the route's struct; None where the route takes none. `version` is what If-Match asked for.

    Raises BadRequest where it is no JSON, Problem 415 or 422 naming the field.
    """
    if route.body is None:
        if body.strip() not in (b"", b"{}"):
            raise BadRequest("expected no body")
        return None
    if route.is_body_optional and not body:
        body, content_type = b"{}", JSON
    if content_type != JSON:
        raise Problem(415, "unsupported_media_type", f"expected Content-Type {JSON}, got {content_type[:80]!r}")
    try:
        decoded = _decoder(route.body).decode(body)
    except msgspec.ValidationError as error:
        raise _refuse(error) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadRequest(f"expected the body to be JSON: {str(error)[:120]}") from error
    if version is not None and hasattr(decoded, "version"):
        decoded.version = version
    return decoded


@cache
def _decoder(body: type[Body]) -> msgspec.json.Decoder[Body]:
    return msgspec.json.Decoder(body)


def read_version(header: str | None) -> int | None:
    """Return the version that If-Match names, None where it names none. Raises Problem 422.

    >>> read_version('"3"')
    3
    """
    if header is None or header.strip() == "*":
        return None
    digits = header.strip().removeprefix("W/").strip('"')
    if not re.fullmatch(r"[0-9]{1,9}", digits):
        raise invalid('expected If-Match to be an ETag as an answer gave it, like "3"', "If-Match")
    return int(digits)


def invalid(message: str, field: str | None) -> Problem:
    """Say that a value does not fit: 422."""
    return Problem(422, "invalid", message, field=field)


def _refuse(error: msgspec.ValidationError) -> Problem:
    """Say a misfit in the words of the wire, with the name of its field."""
    text = str(error)
    at = _AT.search(text)
    named = _NAMED.search(text)
    path = [part for part in (at["path"] if at else "", named["name"] if named else "") if part]
    sentence = _AT.sub("", text).replace("`", "")
    return invalid(sentence[:1].lower() + sentence[1:300], ".".join(path) or None)
