"""Second factors: one-time codes by an app, recovery codes, passkeys."""
