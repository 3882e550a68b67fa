"""schemathesis asks the running server whatever its description allows, and what it does not.

No question may be a fault of the server, and every answer must be one that is described.
"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.support import PROBLEM, Api, declared

EXAMPLES = 20
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ACCEPTED = (None, None, "text/csv", "application/vnd.apache.arrow.stream", "image/png", "*/*")
OPEN = ("/health", "/ready")
HISTORY = "/api/v1/build_history"  # of no version
# Each with the statuses it may get where a token is needed.
WHO: dict[str, set[int]] = {
    "everything": {200, 400, 404, 406},
    "one scope": {200, 400, 403, 404, 406},
    "hostile": {401},
}
HOSTILE = (
    "Bearer",
    "Bearer x",
    "Bearer " + "x" * 2000,
    "Bearer ' or 1=1 --",
    "Bearer kpi_" + "A" * 43,
    "Bearer null",
    "Bearer {token}x",
    "Bearer {token},Bearer {token}",
    "Bearer {token} {token}",
    "Basic {token}",
    "{token}",
    "Bearer \xff\xfe",
)


def paths() -> list[str]:
    """Every path of the description."""
    found = ["/health", "/ready", "/api/v1/metrics", "/api/v1/feedback", "/api/v1/marts"]
    found += ["/api/v1/quality", HISTORY]
    for mart, declaration in declared().items():
        found.append(f"/api/v1/marts/{mart}")
        if "route" in declaration.api:
            found.append(f"/api/v1/{declaration.api['route']}")
    return found


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_in_the_project(tmp_path_factory: pytest.TempPathFactory) -> None:
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


@pytest.fixture(scope="module")
def described(api: Api) -> Any:
    # The tests send the tokens themselves.
    config = schemathesis.Config.from_dict({"generation": {"with-security-parameters": False}})
    address = f"http://127.0.0.1:{api.server.port}/api/v1/openapi.json"
    return schemathesis.openapi.from_url(address, config=config)


def test_every_path_is_asked_for(described: Any) -> None:
    assert {operation.ok().path for operation in described.get_all_operations()} == set(paths())


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("path", paths())
def test_every_answer_is_one_that_is_described(
    path: str, who: str, api: Api, described: Any
) -> None:
    operation = described[path]["GET"]
    cases = [operation.as_strategy(GenerationMode.POSITIVE)]
    if operation.query:
        cases.append(operation.as_strategy(GenerationMode.NEGATIVE))
    good = api.token(*(("shop",) if who == "one scope" else ("*",)))
    headers = HOSTILE if who == "hostile" else ("Bearer {token}",)
    statuses: set[int] = set()

    @settings(
        max_examples=EXAMPLES if who != "hostile" else EXAMPLES // 3,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],  # shrinking a failure could take minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(cases), st.sampled_from(headers), st.sampled_from(ACCEPTED))
    def ask(case: Any, header: str, accept: str | None) -> None:
        sent = {"Authorization": header.replace("{token}", good)}
        answer = case.call(headers=sent | ({"Accept": accept} if accept else {}), timeout=30)
        case.validate_response(answer, checks=CHECKS)
        statuses.add(answer.status_code)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == [PROBLEM]
            problem = answer.json()
            assert problem["status"] == answer.status_code
            assert {"type", "title", "detail", "instance", "request_id"} <= problem.keys()
        else:
            assert answer.headers["x-request-id"]
            if path not in (*OPEN, HISTORY):
                assert answer.headers["x-snapshot-version"]

    ask()
    assert statuses <= ({200} if path in OPEN else WHO[who]), statuses
    if who == "everything" and path not in OPEN:
        assert statuses & {200, 404}, "nothing was answered"  # 404: of a made-up version
