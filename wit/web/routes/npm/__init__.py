"""The npm door: ``/api/packages``, as npm, pnpm, yarn and bun use a registry."""
