"""What every HTTP request passes: request id, peer address, credentials."""
