"""Every route of every service, read from the applications that the services' own code builds."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, get_type_hints

from tallystick_chassis.http.app import create_app, describe_app
from tallystick_chassis.http.capability import declared_routes
from tallystick_chassis.process import make_runtime
from tallystick_chassis.settings import load_settings
from tallystick_cli.stack import boot, state
from tallystick_contracts.topology import SERVICE_FOLDERS, SERVICE_PACKAGES, ServiceName

if TYPE_CHECKING:
    from litestar import Litestar
    from tallystick_chassis.service import Runtime, Service
    from tallystick_cli.stack.layout import Layout


@dataclass(frozen=True, slots=True)
class Route:
    """One route. ``capability`` is empty where it is public; ``returns`` is what its handler says it returns.

    ``answers`` are the statuses that the service's OpenAPI document names.
    """

    service: ServiceName
    method: str
    path: str
    capability: str
    step_up: bool
    returns: object
    body: object
    parameters: frozenset[str]
    summary: str
    answers: frozenset[int]

    @property
    def name(self) -> str:
        """``identity GET /api/v1/identity/me``: how recipes and the reference call it."""
        return f"{self.service} {self.method} {self.path}"

    @property
    def folder(self) -> str:
        """The service's folder name, under which the stack knows its address."""
        return SERVICE_FOLDERS[self.service]

    @property
    def is_unsafe(self) -> bool:
        """Whether it changes something."""
        return self.method not in {"GET", "HEAD"}


def service_of(name: ServiceName) -> Service:
    """Return a service as its own process would run it."""
    service: Service = importlib.import_module(f"{SERVICE_PACKAGES[name]}.app").SERVICE
    return service


def app_of(layout: Layout, name: ServiceName) -> Litestar:
    """Build a service's application with the settings of a running stack; it connects to nothing until it is asked."""
    service, runtime = _runtime_of(layout, name)
    return create_app(service, runtime, service.wire(runtime))


def document_of(layout: Layout, name: ServiceName) -> dict[str, Any]:
    """Return a service's OpenAPI document."""
    service, runtime = _runtime_of(layout, name)
    return describe_app(service, service.wire(runtime))


def _runtime_of(layout: Layout, name: ServiceName) -> tuple[Service, Runtime]:
    service = service_of(name)
    servers = boot.describe(layout, state.read(layout))
    return service, make_runtime(service, load_settings(service.settings, servers.service_environment(name)))


def every_route(layout: Layout) -> tuple[Route, ...]:
    """Return every route of every service, by service and path."""
    documents = {name: document_of(layout, name)["paths"] for name in ServiceName}
    return tuple(
        sorted(
            (
                Route(
                    service=name,
                    method=declared.split(" ", 1)[0],
                    path=declared.split(" ", 1)[1],
                    capability=str(handler.opt.get("capability") or ""),
                    step_up=bool(handler.opt.get("step_up")),
                    returns=get_type_hints(handler.fn, vars(importlib.import_module(handler.fn.__module__))).get(
                        "return"
                    ),
                    body=None if handler.parsed_data_field is None else handler.parsed_data_field.annotation,
                    parameters=frozenset(name.rstrip("_") for name in signature(handler.fn).parameters),
                    summary=(handler.fn.__doc__ or "").strip().split("\n")[0],
                    answers=_answers(documents[name], declared),
                )
                for name in ServiceName
                for declared, handler in declared_routes(app_of(layout, name))
            ),
            key=lambda route: (route.service, route.path, route.method),
        )
    )


def _answers(paths: dict[str, Any], declared: str) -> frozenset[int]:
    method, path = declared.split(" ", 1)
    return frozenset(int(status) for status in paths[path][method.lower()]["responses"])
