"""The attack list, line by line, against a running daemon."""
