"""The git engine: bare repositories on disk and the processes that serve them.

It knows no users, no HTTP, no SSH and no database, and could be published as a library of its own.
"""
