"""Who may do what: actor, permission levels, token scopes, ref rules. One gate for all doors."""
