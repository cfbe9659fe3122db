"""People: who they are, under a pseudonym."""
