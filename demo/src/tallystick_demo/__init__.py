"""The main job, run for real: load client, journal, kills and report."""
