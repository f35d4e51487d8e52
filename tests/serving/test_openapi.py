"""Does the server do what /openapi.json says? Schemathesis asks it what the description allows, and what it forbids."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.core.result import Ok

from mnist_utils.preprocessing.decode import FORMATS
from mnist_utils.serving import app
from tests.paths import MODEL
from tests.pictures import packed
from tests.preprocessing.test_reader import seven

INSTANCES = "/v1/models/mnist:predict", "/v1/models/mnist/versions/1:predict"
# Too many pictures or instances: 413 says more than 400. All other checks are on.
CONFIG = schemathesis.Config.from_dict(
    {"checks": {"negative_data_rejection": {"expected-statuses": ["400", "413", "415", "422"]}}}
)
# No schema can say which bytes are a picture that shows a digit.
schemathesis.openapi.format("binary", st.sampled_from([packed(seven(), form) for form in FORMATS]))
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", app.create_app(MODEL), config=CONFIG)
OPERATIONS = [result.ok() for result in SCHEMA.get_all_operations() if isinstance(result, Ok)]
BODIES = [operation for operation in OPERATIONS if operation.method == "post"]


def check(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, examples: int) -> None:
    # Not `SCHEMA.parametrize()`: all its tests have one id, with which pytest-xdist waits for ever.
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: Case[Any]) -> None:
        case.call_and_validate()

    ask()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.path)
def test_what_is_allowed_is_answered_as_described(operation: APIOperation[Any, Any, Any, Any]) -> None:
    # 784 numbers an instance take their time.
    check(operation, GenerationMode.POSITIVE, 3 if operation.path in INSTANCES else 30 if operation in BODIES else 1)


@pytest.mark.parametrize("operation", BODIES, ids=lambda operation: operation.path)
def test_what_is_forbidden_is_refused_as_described(operation: APIOperation[Any, Any, Any, Any]) -> None:
    check(operation, GenerationMode.NEGATIVE, 6 if operation.path in INSTANCES else 20)
