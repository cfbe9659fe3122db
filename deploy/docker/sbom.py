"""Write what an environment holds as a bill of materials, CycloneDX 1.6, to `<environment>/sbom.cdx.json`.

From the installed packages' own metadata, sorted and without a time: the same lock gives the same file.
"""

import json
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path


def main(environment: Path) -> int:
    """Write the file and return the exit status."""
    (packages,) = environment.glob("lib/python3.*/site-packages")
    components = sorted(
        (_component(found) for found in distributions(path=[str(packages)])), key=lambda one: one["name"]
    )
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    (environment / "sbom.cdx.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _component(found: Distribution) -> dict[str, object]:
    name, version = found.metadata["Name"].lower().replace("_", "-"), found.version
    licence = found.metadata.get("License-Expression") or found.metadata.get("License") or ""
    component: dict[str, object] = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
    }
    if licence and "\n" not in licence:
        component["licenses"] = [{"license": {"name": licence}}]
    return component


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
