"""Door: HTTP."""
