"""The OAuth provider: apps, what users grant to them, and the codes, tokens and keys in between.

OAuth 2.0 (RFC 6749) as RFC 9700 wants it today, with PKCE (RFC 7636), device codes (RFC 8628),
revocation (RFC 7009), introspection (RFC 7662) and OpenID Connect Core 1.0.
"""
