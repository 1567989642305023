"""Provide what an installation needs on the platform, beginning with its permissions."""
