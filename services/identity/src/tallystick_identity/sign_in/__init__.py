"""Sign-in by magic link."""
