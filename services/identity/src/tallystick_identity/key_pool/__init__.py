"""The pool of public keys for people to come."""
