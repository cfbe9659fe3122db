"""Questions, evaluations, attempts, scores, remediation and certificates."""
