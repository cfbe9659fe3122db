"""The embedded stack: Postgres, NATS, a mail sink and every service, below one folder and without Docker."""
