"""Turn data of an older version of an event type into the next one.

A published version never changes: a new version is a new message, and its upcaster stands here, old struct to function.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from tallystick_contracts.message import EventData

Upcaster = Callable[[Any], EventData]

UPCASTERS: Mapping[type[EventData], Upcaster] = MappingProxyType({})
