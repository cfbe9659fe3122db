"""Where Chromium is, and how it is started here."""

from __future__ import annotations

import os
import shutil


def find_chromium() -> str | None:
    """Return the path of a Chromium, if there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def chromium_arguments() -> list[str]:
    """Return what Chromium is started with, wherever it runs."""
    arguments = ["--disable-dev-shm-usage"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses its sandbox as root
    return arguments
