"""Postgres and NATS in containers: the second back-end of the fixtures (`TALLY_STACK=containers`)."""
