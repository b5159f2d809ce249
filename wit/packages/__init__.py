"""The npm registry: packages of repositories, and what comes from other registries."""
