"""Event types generated from `proto/`. Do not edit: run `make proto`."""
