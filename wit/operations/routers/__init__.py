"""The routers of the tRPC API, one module each: see wit/operations/registry.py."""
