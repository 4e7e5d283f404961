"""The description of the API against the running API, with requests that are made from it."""

from __future__ import annotations

import threading

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cnnlib import serving
from cnnlib.server import Server
from tests.test_serving import Named

# Not whether what fits the description is accepted: it cannot say that bytes must be an image.
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance,
          response_schema_conformance]


@pytest.fixture(scope="module")
def described():
    server = Server(serving.create_recognize_app({"a": Named("a")}), threads=4)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    server.stop()
    thread.join(20)


def test_answers_are_as_described(described):
    for operation in described.get_all_operations():
        @given(case=operation.ok().as_strategy())
        @settings(max_examples=20, deadline=None, derandomize=True,
                  suppress_health_check=list(HealthCheck))
        def answers(case):
            case.call_and_validate(checks=CHECKS)

        answers()
