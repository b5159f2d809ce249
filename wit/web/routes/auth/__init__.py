"""The door of the session library: ``/api/auth/*``, as better-auth 1.4 has it (auth.md)."""
