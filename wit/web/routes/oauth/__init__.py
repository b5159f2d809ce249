"""The OAuth door: ``/oauth/*`` and the metadata below ``/.well-known`` (contract, rest.md)."""
