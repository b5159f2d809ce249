"""The database port and its two engines. Nothing above this package knows which one runs."""
