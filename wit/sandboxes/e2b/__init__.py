"""Sandboxes at E2B."""
