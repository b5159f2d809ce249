"""Packages of other registries (uplinks), kept here."""
