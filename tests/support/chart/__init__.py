"""The Helm chart as its tests see it."""
