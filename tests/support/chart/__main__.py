"""Write what every scenario renders to a folder, a file each: `python -m chart FOLDER`, for tools that read files."""

import sys
from pathlib import Path

import yaml

from chart.render import render, scenarios

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in scenarios().items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(render(values).manifests), encoding="utf-8")
