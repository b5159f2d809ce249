"""Users, passwords, tokens and SSH keys."""
