"""The public read model of certificates."""
