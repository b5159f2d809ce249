"""Door: SSH."""
