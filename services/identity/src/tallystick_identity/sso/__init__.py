"""Single sign-on: a tenant's people signed in by its own OpenID provider."""
