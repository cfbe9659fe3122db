"""`image_size`: what the largest of the five images holds above its base.

Images are weighed that `make images` has built: an image's own layers, as its history has them, unpacked. Where no
Docker engine answers there is nothing to weigh, and no figure.
"""

import json
import os
import subprocess
import sys
from typing import Final

from tallystick_contracts.topology import SERVICE_FOLDERS, ServiceName

from bench.measure import Measure, Result, result

_DOCKER: Final = os.environ.get("DOCKER", "docker")
_PREFIX: Final = os.environ.get("IMAGE_PREFIX", "tallystick")
_TAG: Final = os.environ.get("IMAGE_TAG", "0.1.0")
_OURS_BEGINS: Final = "org.opencontainers.image.title=tallystick "
"""In the first instruction of deploy/docker/Dockerfile after its base's."""
_LIMIT_MB: Final = 90.0
_MB: Final = 1_000_000


def take() -> Result | None:
    """Weigh every service's image; nothing where there is none."""
    largest = 0.0
    for named in ServiceName:
        image = f"{_PREFIX}/{SERVICE_FOLDERS[named]}:{_TAG}"
        command = (_DOCKER, "history", "--no-trunc", "--human=false", "--format", "{{json .}}", image)
        try:
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", None) or str(error)
            sys.stderr.write(f"image_size: {image} is not to be weighed here (see `make images`): {why.strip()}\n")
            return None
        size = above_base_bytes(said) / _MB
        sys.stderr.write(f"{image}: {size:.1f} MB above its base\n")
        largest = max(largest, size)
    return result(
        name="image_size",
        value=largest,
        unit="MB above the base, largest image",
        reference="the limit, in MB",
        reference_value=_LIMIT_MB,
        goal=1.0,
        better="lower",
    )


def above_base_bytes(history: str) -> int:
    """Add up the layers above the base in what `docker history` says, a JSON object a line, the newest first.

    Raises:
        ValueError: it is not the history of an image of ours.
    """
    total = 0
    for line in history.splitlines():
        row = json.loads(line)
        total += int(row["Size"])
        if _OURS_BEGINS in row["CreatedBy"]:
            return total
    msg = "no layer of this image is ours"
    raise ValueError(msg)


MEASURE: Final = Measure("image_size", take)
