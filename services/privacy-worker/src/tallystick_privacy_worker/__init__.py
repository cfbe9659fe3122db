"""Subject keys, erasure and the compliance API."""
