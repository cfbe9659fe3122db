"""How long audit logs are kept, what holds them back, and how they go."""
