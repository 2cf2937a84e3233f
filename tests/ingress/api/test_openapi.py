"""The description: valid OpenAPI 3.1, complete, readable, and what a real server does."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ingress.api.door import PREFIX
from ingress.api.openapi import make_openapi
from ingress.api.route import Route
from ingress.api.routes import ROUTES
from tests.ingress.api.conftest import Person, sign_in

DESCRIBED = make_openapi(ROUTES, version="1", prefix=PREFIX)
SCHEMA = schemathesis.openapi.from_dict(DESCRIBED)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 6
RULES = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_it_is_valid() -> None:
    """The description keeps the rules of OpenAPI 3.1."""
    OpenAPIV31SpecValidator(DESCRIBED).validate()


def test_names_are_unique() -> None:
    """Each operation has a name of its own, and each path and method one operation."""
    assert len(ROUTES) == len({route.name for route in ROUTES})
    assert len(ROUTES) == len({(route.method, re.sub(r"\{\w+\}", "{}", route.path)) for route in ROUTES})


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_each_operation_is_explained(route: Route) -> None:
    """An operation has a sentence, and each path parameter is a field of what it takes."""
    assert route.summary.strip()
    assert route.summary.strip()[-1] not in ".,"
    named = set(re.findall(r"\{(\w+)\}", route.path))
    assert named <= set(route.params.__struct_encode_fields__)


async def test_it_is_served(api: Person) -> None:
    """Program and person get it without a token."""
    said = await api.as_nobody().get("/openapi.json")
    assert DESCRIBED["paths"].keys() == said.body["paths"].keys()
    page = await api.as_nobody().get("/docs")
    assert 200 == page.status
    assert all(f'id="{route.name}"' in page.text for route in ROUTES)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("tag", dict.fromkeys(route.tag for route in ROUTES))
async def test_the_server_does_what_it_says(api: Person, tag: str) -> None:
    """Whatever fits the description, and much that does not, is answered as described, and never with 5xx."""
    url = f"http://127.0.0.1:{api.ingress.settings.port}{PREFIX}"
    for route in ROUTES:
        if route.tag == tag:
            owner = await sign_in(api, "owner")  # some routes end the session
            await asyncio.to_thread(_ask, route, url, owner.token)


def _ask(route: Route, url: str, token: str) -> None:
    with requests.Session() as session:

        @RULES
        @given(case=SCHEMA[route.path][route.method].as_strategy())
        def ask(case: Any) -> None:
            response = case.call(base_url=url, session=session, headers={"Authorization": f"Bearer {token}"})
            case.validate_response(response, checks=CHECKS)

        ask()


def test_the_page_needs_no_other_site() -> None:
    """The readable page loads nothing from elsewhere and runs no script."""
    page = (Path(__file__).parents[3] / "ingress/api/docs.html").read_text()
    assert "<script" not in page
    assert "http" not in page
