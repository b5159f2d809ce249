"""A durable queue for work that outlives a request."""
