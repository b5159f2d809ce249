"""Repositories as people know them: names, owners, pushes, housekeeping."""
