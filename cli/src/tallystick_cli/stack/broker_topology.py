"""NATS users, streams and durables of the stack, and making them; services manage none of it themselves."""
