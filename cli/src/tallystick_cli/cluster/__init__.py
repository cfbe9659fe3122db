"""What an installation on Kubernetes needs beside the services: credentials, database roles, streams."""
