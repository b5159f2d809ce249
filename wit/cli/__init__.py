"""Door: the `wit` command."""
