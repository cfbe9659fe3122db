"""Sessions: cookies, refresh, introspection, and services' own tokens."""
