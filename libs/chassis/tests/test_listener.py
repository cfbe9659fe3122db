"""The API's listener as browsers and attackers meet it: TLS alone, one message for each request, and no other trust."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import warnings
from types import SimpleNamespace

import httpx
import pytest
from tallystick_chassis import process
from tallystick_chassis.http.service_client import ServiceClient
from tallystick_cli.stack import authority
from tallystick_cli.stack.layout import Layout

TLS = ssl.TLSVersion
HANDSHAKE, ALERT = b"\x16", b"\x15"  # kinds of TLS records
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def _app(scope, receive, send):
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    heard = f"{scope['path']} {len(body)};".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(heard))]})
    await send({"type": "http.response.body", "body": heard})


@pytest.fixture
def layout(tmp_path):
    layout = Layout.at(tmp_path)
    for folder in (layout.secrets, layout.authority):
        folder.mkdir(parents=True, exist_ok=True)
    authority.ensure_authority(layout)
    return layout


@pytest.fixture
async def port(layout, monkeypatch):
    """Serve ``_app`` exactly as a service's API is served, and give its port."""
    certificate, key = authority.ensure_server(layout, "listener")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    settings = SimpleNamespace(host="127.0.0.1", port=free, tls_cert_file=certificate, tls_key_file=key, drain_s=0)
    monkeypatch.setattr(process, "create_app", lambda *_: _app)
    monkeypatch.setattr(process, "_checks", lambda *_: {})
    stop = asyncio.Event()
    service = SimpleNamespace(name="identity")
    serving = asyncio.create_task(
        process._serve_api(service, SimpleNamespace(settings=settings), SimpleNamespace(readiness={}), stop)
    )
    async with asyncio.timeout(30):
        while not serving.done():
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", free)
                writer.close()
                break
            await asyncio.sleep(0.02)
    assert not serving.done(), serving.exception()
    yield free
    stop.set()
    await serving


def _trusting(layout) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(layout.ca_file))


async def _said(port: int, request: bytes, context: ssl.SSLContext | None) -> bytes:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=context and "localhost"
    )
    writer.write(request)
    answer = b""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(1.0):
            while part := await reader.read(65536):
                answer += part
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return answer


async def test_the_newest_tls_is_spoken_and_nothing_below_1_2(layout, port):
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=_trusting(layout), server_hostname="localhost")
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    writer.close()
    answered = {version: await _first_byte(layout, port, version) for version in (TLS.TLSv1_1, TLS.TLSv1_2)}
    assert answered[TLS.TLSv1_2] == HANDSHAKE
    assert answered[TLS.TLSv1_1] in {b"", ALERT}


async def _first_byte(layout, port, newest):
    """Say hello with ``newest`` as the newest version that is offered; return the kind of record that comes back."""
    context = _trusting(layout)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = TLS.TLSv1, newest
    said = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = said.read()
    assert hello[:1] == HANDSHAKE
    return (await _said(port, hello, None))[:1]


async def test_of_tls_1_2_only_suites_with_forward_secrecy_and_authenticated_encryption_are_spoken(layout, port):
    offered = _trusting(layout)
    offered.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    spoken = set()
    for name in [suite["name"] for suite in offered.get_ciphers() if suite["protocol"] != "TLSv1.3"]:
        with contextlib.suppress(OSError):
            spoken.add(await _suite_of(layout, port, f"{name}:@SECLEVEL=0"))
    kinds = {name.removeprefix("ECDHE-").partition("-")[2] for name in spoken}
    assert all(name.startswith("ECDHE-") for name in spoken), spoken
    assert kinds == {"AES256-GCM-SHA384", "CHACHA20-POLY1305", "AES128-GCM-SHA256"}


async def test_the_listener_chooses_the_suite_and_prefers_the_strongest(layout, port):
    weakest_first = "AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES256-GCM-SHA384"
    asked = ":".join(f"ECDHE-{signature}-{one}" for one in weakest_first for signature in ("ECDSA", "RSA"))
    assert (await _suite_of(layout, port, asked)).endswith("-AES256-GCM-SHA384")


async def _suite_of(layout, port, ciphers):
    """Return the name of the suite that is agreed on over TLS 1.2 with whoever offers ``ciphers``."""
    context = _trusting(layout)
    context.maximum_version = TLS.TLSv1_2
    context.set_ciphers(ciphers)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    name = writer.get_extra_info("cipher")[0]
    writer.close()
    return name


async def test_plain_http_is_neither_answered_nor_redirected(port):
    assert b"HTTP/" not in await _said(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", None)


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Content-Length: 4\r\nContent-Length: 60",
        b"Content-Length: +4",
        b"Content-Length: 4, 60",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Content-Length: 0\r\nTransfer-Encoding:\x0bchunked",
    ],
)
async def test_a_request_of_doubtful_length_hides_no_second_one(layout, port, headers):
    body = b"0\r\n\r\n" + SMUGGLED
    answer = await _said(
        port, b"POST /first HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n\r\n" + body, _trusting(layout)
    )
    assert b"/smuggled" not in answer


async def test_a_length_that_is_stated_bounds_the_message(layout, port):
    whole = b"POST /first HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED
    answer = await _said(port, whole, _trusting(layout))
    assert b"/first %d;" % len(SMUGGLED) in answer
    assert b"/smuggled" not in answer


async def test_a_service_calls_nobody_whose_certificate_it_does_not_trust(layout, port, tmp_path):
    url = f"https://localhost:{port}"
    trusting = ServiceClient("ledger", urls={"identity": url}, ca_file=layout.ca_file)
    assert (await trusting.get(f"{url}/here")).text == "/here 0;"
    await trusting.close()
    stranger = Layout.at(tmp_path / "other")
    for folder in (stranger.secrets, stranger.authority):
        folder.mkdir(parents=True)
    authority.ensure_authority(stranger)
    for ca_file in (stranger.ca_file, None):
        doubting = ServiceClient("ledger", urls={"identity": url}, ca_file=ca_file)
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await doubting.get(f"{url}/here")
        await doubting.close()
