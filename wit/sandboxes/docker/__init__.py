"""Sandboxes in containers of a Docker or Podman engine, by its HTTP interface (Engine API)."""
