"""The pages of accounts: signing in and up, new passwords, invitations. They work without scripts.

Their forms do what clients of ``/api/auth`` do, by the same endpoints.
"""
