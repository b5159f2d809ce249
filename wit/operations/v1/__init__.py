"""The public REST API (contract, rest.md, "/api/v1"), one module for each group of routes."""
