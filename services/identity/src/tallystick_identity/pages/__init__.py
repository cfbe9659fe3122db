"""Pages for people: thin clients of identity's own API, in the same process (ADR 60)."""
