"""A bucket for tests: moto's S3 over HTTPS, in a thread, and in front of it what goes wrong with stores."""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import obstore
from cryptography import x509
from moto.server import DomainDispatcherApplication, create_backend_app
from obstore.store import S3Store
from tallystick_cli.stack.authority import Certificate, make_authority, make_key, make_server
from werkzeug import serving

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

NAME = "marks"


@dataclass
class Bucket:
    """What a test does to the store; ``requests`` counts what came in, by method."""

    url: str = ""
    ca_file: Path = Path()
    delay_s: float = 0.0
    answers: list[int] = field(default_factory=list)
    """Statuses that the next requests get without being served."""
    lost_answers: int = 0
    """How many of the next writes are done and answered with 500."""
    is_careless: bool = False
    """Whether conditions are passed over, as older stores do."""
    requests: Counter[str] = field(default_factory=Counter)
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def mend(self) -> None:
        """Let everything go well again."""
        self.delay_s, self.lost_answers, self.is_careless = 0.0, 0, False
        self.answers.clear()
        self.requests.clear()

    def environment(self) -> dict[str, str]:
        """Return what the ledger's environment has of this store."""
        return {
            "AWS_ENDPOINT": self.url,
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "tally",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        }

    def put(self, key: str, body: bytes) -> None:
        """Write an object past everybody's conditions."""
        obstore.put(self._store(), key, body)

    def get(self, key: str) -> bytes:
        """Return an object."""
        return obstore.get(self._store(), key).bytes().to_bytes()

    def delete(self, key: str) -> None:
        """Take an object away."""
        obstore.delete(self._store(), key)

    def _store(self) -> S3Store:
        said = self.environment()
        return S3Store(
            NAME,
            endpoint=said["AWS_ENDPOINT"],
            region=said["AWS_REGION"],
            access_key_id=said["AWS_ACCESS_KEY_ID"],
            secret_access_key=said["AWS_SECRET_ACCESS_KEY"],
            client_options={"root_certificate": self.ca_file.read_bytes()},
        )


class _Silent(serving.WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@contextmanager
def bucket(folder: Path) -> Iterator[Bucket]:
    """Serve an empty bucket on a free port, with a certificate in ``folder``."""
    authority_key, key = make_key(), make_key()
    authority = Certificate(make_authority(authority_key), authority_key)
    served = Bucket(ca_file=folder / "authority.pem")
    served.ca_file.write_bytes(authority.certificate)
    chain = folder / "server.pem"
    chain.write_bytes(key + make_server(authority, key, "store", [x509.IPAddress(ip_address("127.0.0.1"))]))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(chain)
    store = DomainDispatcherApplication(create_backend_app)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        served.requests[method] += 1
        time.sleep(served.delay_s)
        if served.answers:
            start_response(f"{served.answers.pop(0)} As told", [("Content-Length", "0")])
            return [b""]
        if served.is_careless:
            environ = {k: v for k, v in environ.items() if k not in {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"}}
        # moto looks at the condition and then writes: a store does both at once.
        with served.one_at_a_time:
            answer = list(store(environ, start_response))
        if method == "PUT" and served.lost_answers:
            served.lost_answers -= 1
            start_response("500 Done and not said", [("Content-Length", "0")])
            return [b""]
        return answer

    server = serving.make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Silent, ssl_context=tls)
    served.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        tls_out = ssl.create_default_context(cafile=served.ca_file)
        made = Request(f"{served.url}/{NAME}", method="PUT")  # noqa: S310 - https, our own
        urlopen(made, timeout=10, context=tls_out).close()  # noqa: S310 - the same
        served.mend()
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
