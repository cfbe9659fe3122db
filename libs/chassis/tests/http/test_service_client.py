"""Calls between services: token, correlation, repetition; and sessions checked at identity with a one-second memory."""

from __future__ import annotations

import asyncio
import base64
from uuid import uuid4

import httpx
import msgspec
import pytest
import pytest_asyncio
from tallystick_chassis.http import service_client
from tallystick_chassis.http.correlation import current_correlation
from tallystick_chassis.http.introspection import Introspection, RemoteAuthenticator
from tallystick_chassis.http.problems import Unavailable
from tallystick_chassis.http.service_client import ServiceCallError, ServiceClient

URLS = {"identity": "https://identity.test", "ledger": "https://ledger.test/"}


class Answer(msgspec.Struct, frozen=True):
    n: int


class Far:
    """The other side: plays identity's token route, and answers the rest from a list."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.tokens = 0
        self.token_lifetime_s = 300
        self.answers: list[object] = []
        self.delay_s = 0.0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(self.delay_s)
        if request.url.path == "/oauth/token":
            self.tokens += 1
            expected = "Basic " + base64.b64encode(b"assessment:s3cret").decode()
            if request.headers["authorization"] != expected:
                return httpx.Response(401, json={"code": "not_authenticated"})
            body = {"access_token": f"t{self.tokens}", "token_type": "Bearer", "expires_in": self.token_lifetime_s}
            return httpx.Response(200, json=body)
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else {"n": 1}
        if isinstance(answer, Exception):
            raise answer
        return (
            httpx.Response(answer, json={"code": "busy"})
            if isinstance(answer, int)
            else httpx.Response(200, json=answer)
        )


@pytest.fixture
def far(monkeypatch) -> Far:
    monkeypatch.setattr(service_client, "BACK_OFF_S", 0.001)
    return Far()


@pytest_asyncio.fixture
async def client(far):
    made = ServiceClient("assessment", urls=URLS, secret="s3cret", transport=httpx.MockTransport(far))
    yield made
    await made.close()


async def test_a_call_carries_a_token_fetched_once_and_the_correlation(client, far):
    reset = current_correlation.set("corr-1")
    try:
        for _ in range(3):
            assert await client.call("GET", "ledger", "/x", answer=Answer, tenant=uuid4()) == Answer(1)
    finally:
        current_correlation.reset(reset)
    assert far.tokens == 1
    assert {request.headers["authorization"] for request in far.requests} == {"Bearer t1"}
    assert {request.headers["x-correlation-id"] for request in far.requests} == {"corr-1"}
    assert all("x-tally-tenant" in request.headers for request in far.requests)
    assert str(far.requests[0].url) == "https://ledger.test/x"


async def test_a_token_is_renewed_before_it_ends_and_once_when_it_is_refused(client, far, monkeypatch):
    await client.call("GET", "ledger", "/x", answer=Answer)
    far.answers = [401, {"n": 2}]
    assert await client.call("POST", "ledger", "/x", answer=Answer) == Answer(2)
    assert (far.tokens, far.requests[-1].headers["authorization"]) == (2, "Bearer t2")
    far.answers = [401, 401]
    with pytest.raises(ServiceCallError) as raised:
        await client.call("GET", "ledger", "/x", answer=Answer)
    assert raised.value.status == 401
    monkeypatch.setattr(service_client, "REFRESH_BEFORE_S", 299.0)
    client._token = None
    await client.call("GET", "ledger", "/x", answer=Answer)
    before = far.tokens
    await asyncio.sleep(1.05)
    await client.call("GET", "ledger", "/x", answer=Answer)
    assert far.tokens == before + 1


@pytest.mark.parametrize(
    ("method", "options", "tries"),
    [
        ("GET", {}, 3),
        ("POST", {}, 1),
        ("POST", {"idempotency_key": "k"}, 3),
        ("POST", {"repeatable": True}, 3),
        ("DELETE", {}, 1),
    ],
)
async def test_only_what_is_safe_to_repeat_is_repeated(client, far, method, options, tries):
    for failure in (503, httpx.ConnectError("down")):
        far.requests.clear()
        far.answers = [failure] * tries
        with pytest.raises(ServiceCallError):
            await client.call(method, "ledger", "/x", answer=Answer, **options)
        assert len(far.requests) == tries


async def test_a_repeated_call_that_works_at_last_works(client, far):
    far.answers = [503, httpx.ReadTimeout("slow"), {"n": 3}]
    assert await client.call("GET", "ledger", "/x", answer=Answer) == Answer(3)


@pytest.mark.parametrize("answer", [404, 500, 302, {"n": "no"}])
async def test_an_answer_that_is_not_the_expected_one_is_an_error(client, far, answer):
    far.answers = [answer]
    with pytest.raises(ServiceCallError):
        await client.call("GET", "ledger", "/x", answer=Answer)


async def test_a_service_whose_address_is_not_known_cannot_be_called(client):
    with pytest.raises(ServiceCallError, match="not_configured"):
        await client.call("GET", "privacy", "/x", answer=Answer)


async def test_a_wrong_secret_is_an_error_and_never_in_its_text(far):
    client = ServiceClient("assessment", urls=URLS, secret="wr0ng", transport=httpx.MockTransport(far))
    with pytest.raises(ServiceCallError) as raised:
        await client.call("GET", "ledger", "/x", answer=Answer)
    assert "wr0ng" not in str(raised.value)
    await client.close()


def _known(**changes) -> dict:
    return msgspec.to_builtins(Introspection(active=True, tenant=uuid4(), person="p", session="s", **changes))


@pytest.mark.control("AC-05")
async def test_without_fresh_epochs_identity_is_asked_again_each_time_and_once_for_all_who_ask_together(client, far):
    authenticator = RemoteAuthenticator(client)
    far.answers = [_known(), {"active": False}]
    far.delay_s = 0.02
    answers = await asyncio.gather(*(authenticator.authenticate("token") for _ in range(10)))
    assert all(answer.active for answer in answers)
    assert len(far.requests) == 1
    assert not (await authenticator.authenticate("token")).active
    assert len(far.requests) == 2


async def test_two_sessions_are_never_mixed_up(client, far):
    authenticator = RemoteAuthenticator(client)
    far.answers = [_known(amr=("one",)), _known(amr=("two",))]
    far.delay_s = 0.02
    one, two, again = await asyncio.gather(*(authenticator.authenticate(token) for token in ("a", "b", "a")))
    assert [one.amr, two.amr, again.amr] == [("one",), ("two",), ("one",)]


@pytest.mark.parametrize("failure", [503, 500, httpx.ConnectError("down"), {"active": "perhaps"}])
async def test_when_identity_cannot_answer_the_request_is_answered_503(client, far, failure):
    authenticator = RemoteAuthenticator(client)
    far.answers = [failure] * 3
    with pytest.raises(Unavailable):
        await authenticator.authenticate("token")
    far.answers = [_known()]
    assert (await authenticator.authenticate("token")).active


async def test_one_caller_that_goes_away_does_not_fail_the_others(client, far):
    authenticator = RemoteAuthenticator(client)
    far.answers = [_known()]
    far.delay_s = 0.05
    gone = asyncio.create_task(authenticator.authenticate("token"))
    await asyncio.sleep(0.01)
    stays = asyncio.create_task(authenticator.authenticate("token"))
    await asyncio.sleep(0.01)
    gone.cancel()
    assert (await stays).active
