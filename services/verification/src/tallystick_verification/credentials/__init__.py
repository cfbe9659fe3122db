"""Published certificates: what is known of them, and what a verifier is told."""
