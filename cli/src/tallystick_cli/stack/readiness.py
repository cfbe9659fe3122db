"""Asking a service over HTTPS whether it is ready, trusting the stack's own authority only."""

import http.client
import ssl
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import msgspec

from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.ports import LOOPBACK
from tallystick_cli.stack.status import Status

_TIMEOUT_S = 2.0


def ask(layout: Layout, now: Status) -> Status:
    """Ask every API that runs whether it is ready, all at once, and return the status with the answers."""
    running = {name: url for name, url in now.urls.items() if f"{name}-api" in now.programs}
    if not running:
        return now

    def answer(url: str) -> bool:
        return is_ready(layout, urlsplit(url).port or 0)

    with ThreadPoolExecutor(len(running)) as pool:
        answers = list(pool.map(answer, running.values()))
    return msgspec.structs.replace(now, ready=dict(zip(running, answers, strict=True)))


def is_ready(layout: Layout, port: int) -> bool:
    """Whether `GET /ready` on this loopback port answers 200."""
    context = ssl.create_default_context(cafile=str(layout.ca_file))
    connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=_TIMEOUT_S, context=context)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
