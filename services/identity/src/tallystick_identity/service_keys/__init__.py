"""Service keys: how a customer's own machines use the same routes as people."""
