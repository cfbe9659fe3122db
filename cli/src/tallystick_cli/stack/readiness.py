"""Asking a service over HTTPS whether it is ready, trusting the stack's own authority only."""

import http.client
import ssl

from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.ports import LOOPBACK

_TIMEOUT_S = 2.0


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
