"""Remediation: re-keying a question after the fact, as new score versions that can be taken back."""
