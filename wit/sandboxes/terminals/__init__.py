"""Terminals that live on the server: a PTY in a sandbox, and whoever looks at it comes and goes."""
