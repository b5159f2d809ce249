"""Real clients against the real daemon."""
