"""Mail to users: what it says, the queue it waits in, and the way out."""
