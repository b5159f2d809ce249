"""The durable journal of what happened, and its delivery to handlers, exactly once."""
