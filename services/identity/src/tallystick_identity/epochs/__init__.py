"""Epochs: what changed, told to the services that remember sessions."""
