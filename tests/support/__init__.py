"""What the tests share: the daemon as a user starts it, PostgreSQL, and small bridges."""
