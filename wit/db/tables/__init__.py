"""The tables of wit, as SQLAlchemy Core values.

Names and columns follow the contract (database.md) so that rows appear in outputs under the names
that clients know; what wit adds is marked. Ids of users are 32 characters of [A-Za-z0-9], all
other ids are UUIDs as text.
"""

from wit.db.tables.accounts import (
    account_credentials,
    login_attempts,
    sessions,
    ssh_keys,
    tokens,
    two_factor,
    users,
    verifications,
)
from wit.db.tables.admin import (
    admin_audit_logs,
    feature_flags,
    rate_limits,
    repo_ai_keys,
    system_settings,
    user_ai_keys,
)
from wit.db.tables.base import metadata
from wit.db.tables.journal import event_deliveries, events, jobs, pushes
from wit.db.tables.oauth import (
    oauth_access_tokens,
    oauth_apps,
    oauth_authorization_codes,
    oauth_authorizations,
    oauth_device_codes,
    oauth_refresh_tokens,
    signing_keys,
)
from wit.db.tables.owners import (
    namespaces,
    org_members,
    organizations,
    team_members,
    team_repositories,
    teams,
)
from wit.db.tables.packages import (
    package_dependencies,
    package_dist_tags,
    package_maintainers,
    package_numbers,
    package_stars,
    package_versions,
    packages,
)
from wit.db.tables.repositories import branch_protection_rules, collaborators, repositories
from wit.db.tables.sandboxes import (
    repo_sandbox_config,
    repo_sandbox_keys,
    repo_sandbox_variables,
    sandbox_commands,
    sandbox_sessions,
    sandbox_tokens,
    sandboxes,
)
from wit.db.tables.social import activities, invitations, stars, watches

__all__ = [
    "account_credentials",
    "activities",
    "admin_audit_logs",
    "branch_protection_rules",
    "collaborators",
    "event_deliveries",
    "events",
    "feature_flags",
    "invitations",
    "jobs",
    "login_attempts",
    "metadata",
    "namespaces",
    "oauth_access_tokens",
    "oauth_apps",
    "oauth_authorization_codes",
    "oauth_authorizations",
    "oauth_device_codes",
    "oauth_refresh_tokens",
    "org_members",
    "organizations",
    "package_dependencies",
    "package_dist_tags",
    "package_maintainers",
    "package_numbers",
    "package_stars",
    "package_versions",
    "packages",
    "pushes",
    "rate_limits",
    "repo_ai_keys",
    "repo_sandbox_config",
    "repo_sandbox_keys",
    "repo_sandbox_variables",
    "repositories",
    "sandbox_commands",
    "sandbox_sessions",
    "sandbox_tokens",
    "sandboxes",
    "sessions",
    "signing_keys",
    "ssh_keys",
    "stars",
    "system_settings",
    "team_members",
    "team_repositories",
    "teams",
    "tokens",
    "two_factor",
    "user_ai_keys",
    "users",
    "verifications",
    "watches",
]
