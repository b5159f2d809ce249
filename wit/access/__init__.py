"""Who may do what: the actor, permission levels, token scopes, ref rules. One gate for all doors."""
