"""The grammar of the ``wit`` command, on one page.

Each command names the function that carries it out, as ``module:function`` below ``wit.cli``. The
module is imported only when its command is given, so that every other one starts quickly.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

Parser = argparse.ArgumentParser
Groups = Any  # argparse's _SubParsersAction has no public name


def make_parser(version: str) -> Parser:
    parser = Parser(
        prog="wit",
        description="Looks after a wit server: beside the running daemon or without one.",
        epilog="Exit status: 0 done, 1 refused (one sentence on standard error), 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wit {version}")
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="default: $WIT_DATA_DIR, else ./var if it exists, else ~/.wit",
    )
    parser.add_argument("--debug", action="store_true", help="show the log and tracebacks")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _users(_group(commands, "user", "people who may sign in"))
    _tokens(_group(commands, "token", "personal access tokens, for git over HTTP and the API"))
    _keys(_group(commands, "key", "SSH keys of users"))
    _apps(_group(commands, "app", "OAuth apps of users"))
    _organizations(_group(commands, "org", "organizations and their members"))
    _repositories(_group(commands, "repo", "repositories"))
    _collaborators(_group(commands, "collaborator", "who works on a repository"))
    _protect(commands)
    _sandboxes(_group(commands, "sandbox", "sandboxes: who has which, what ran in them"))
    _operations(commands)
    _backups(commands)
    return parser


def _group(commands: Groups, name: str, help: str) -> Groups:
    group = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
    return group.add_subparsers(metavar="ACTION", required=True)


def _command(
    commands: Groups, name: str, run: str, help: str, *words: str, writes: bool = True
) -> Parser:
    """``words`` are positional arguments; without ``writes`` no wit.toml is made."""
    command: Parser = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
    for word in words:
        command.add_argument(word.lower().replace("/", "_"), metavar=word)
    command.set_defaults(run=run, writes=writes)
    return command


def _listing(commands: Groups, name: str, run: str, help: str, *words: str) -> Parser:
    command = _command(commands, name, run, help, *words)
    command.add_argument("--json", action="store_true", help="print a JSON array")
    return command


def _confirmed(command: Parser) -> None:
    command.add_argument("--yes", action="store_true", help="do not ask")


def _users(group: Groups) -> None:
    create = _command(group, "create", "users:create", "make a user", "NAME")
    create.add_argument("--email", required=True, metavar="ADDRESS")
    create.add_argument("--name", dest="full_name", metavar="TEXT", help="full name")
    create.add_argument(
        "--admin",
        action="store_true",
        help="may administer the whole site (the first user: as superadmin)",
    )
    passwd = _command(group, "passwd", "users:passwd", "set a user's password", "NAME")
    for command in (create, passwd):
        command.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input"
        )
    _listing(group, "list", "users:show", "list the users")
    invite = _command(group, "invite", "users:invite", "print a link to make an account", "ADDRESS")
    invite.add_argument("--by", required=True, metavar="NAME", help="the user who invites")
    _command(group, "two-factor-off", "users:two_factor_off", "for who has lost the device", "NAME")
    suspend = _command(group, "suspend", "users:suspend", "lock a user out", "NAME")
    suspend.add_argument("--reason", default="suspended by an administrator", metavar="TEXT")
    _command(group, "resume", "users:resume", "end a suspension", "NAME")
    role = _command(group, "role", "users:role", "change a user's role", "NAME")
    role.add_argument("role", choices=("user", "admin", "superadmin"))
    _confirmed(_command(group, "delete", "users:delete", "remove a user", "NAME"))


def _tokens(group: Groups) -> None:
    create = _command(group, "create", "tokens:create", "make a token and print it", "NAME")
    create.add_argument("--name", dest="label", required=True, metavar="LABEL")
    create.add_argument(
        "--scopes", required=True, metavar="A,B", help="such as repo:read,repo:write"
    )
    create.add_argument("--days", type=int, metavar="N", help="expires after so many days")
    _listing(group, "list", "tokens:show", "list a user's tokens", "NAME")
    _command(group, "revoke", "tokens:revoke", "end a token", "NAME", "ID")


def _keys(group: Groups) -> None:
    add = _command(group, "add", "keys:add", "add the key in FILE.pub ('-': standard input)",
                   "NAME", "FILE")  # fmt: skip
    add.add_argument("--title", metavar="TEXT", help="default: the key's comment")
    _listing(group, "list", "keys:show", "list a user's keys", "NAME")
    _command(group, "remove", "keys:remove", "remove a key, by id or fingerprint", "NAME", "KEY")


def _apps(group: Groups) -> None:
    verify = _command(group, "verify", "apps:verify", "vouch for an app to its users", "CLIENT_ID")
    verify.add_argument("--remove", action="store_true", help="vouch for it no longer")


def _organizations(group: Groups) -> None:
    create = _command(group, "create", "organizations:create", "make an organization", "NAME")
    create.add_argument("--owner", required=True, metavar="USER")
    create.add_argument("--display-name", metavar="TEXT")
    member = _command(group, "member", "organizations:member",
                      "add a member or change its role", "ORG", "USER")  # fmt: skip
    change = member.add_mutually_exclusive_group()
    change.add_argument("role", nargs="?", choices=("member", "admin", "owner"), default="member")
    change.add_argument("--remove", action="store_true", help="take the user out")
    _listing(group, "members", "organizations:members", "list the members", "ORG")


def _repositories(group: Groups) -> None:
    create = _command(group, "create", "repositories:create", "make an empty repository",
                      "OWNER/REPO")  # fmt: skip
    create.add_argument("--default-branch", metavar="NAME")
    create.add_argument("--object-format", choices=("sha1", "sha256"), default="sha1")
    imported = _command(group, "import", "repositories:import_",
                        "copy a repository from a path or URL", "OWNER/REPO", "SOURCE")  # fmt: skip
    for command in (create, imported):
        command.add_argument("--private", action="store_true")
        command.add_argument("--description", metavar="TEXT")
    fork = _command(group, "fork", "repositories:fork", "copy a repository of this server",
                    "SOURCE", "OWNER/REPO")  # fmt: skip
    fork.add_argument("--private", action="store_true")
    listing = _listing(group, "list", "repositories:show", "list the repositories")
    listing.add_argument("--owner", default="", metavar="NAME")
    _command(group, "rename", "repositories:rename", "give a new name", "OWNER/REPO", "NEW")
    _command(group, "transfer", "repositories:transfer", "give a new owner", "OWNER/REPO", "OWNER")
    _command(group, "verify", "repositories:verify", "read all packs and compare their checksums",
             "OWNER/REPO")  # fmt: skip
    lock = _command(group, "lock", "repositories:lock", "take no pushes for now", "OWNER/REPO")
    lock.add_argument("--reason", metavar="TEXT", default="its administrator has locked it")
    _command(group, "unlock", "repositories:unlock", "take pushes again", "OWNER/REPO")
    _confirmed(_command(group, "delete", "repositories:delete", "remove for good", "OWNER/REPO"))


def _collaborators(group: Groups) -> None:
    add = _command(group, "add", "rights:add", "add somebody, or change the level",
                   "OWNER/REPO", "NAME")  # fmt: skip
    add.add_argument("level", choices=("read", "write", "admin"))
    _command(group, "remove", "rights:remove", "take somebody's rights away", "OWNER/REPO", "NAME")
    _listing(group, "list", "rights:show", "list the collaborators", "OWNER/REPO")


def _protect(commands: Groups) -> None:
    protect = _listing(
        commands, "protect", "rights:protect",
        "protect the branches that match PATTERN; without a flag, from force pushes and deletion",
        "OWNER/REPO",
    )  # fmt: skip
    protect.add_argument("pattern", metavar="PATTERN", nargs="?")
    protect.add_argument("--no-force-push", action="store_true")
    protect.add_argument("--no-delete", action="store_true")
    protect.add_argument(
        "--require-pr", action="store_true", help="no direct push at all, nor deletion"
    )
    protect.add_argument(
        "--pusher", action="append", metavar="NAME", help="only these users push; repeat"
    )
    other = protect.add_mutually_exclusive_group()
    other.add_argument("--list", action="store_true", help="list the rules")
    other.add_argument("--remove", action="store_true", help="remove the rule for PATTERN")


def _sandboxes(group: Groups) -> None:
    listing = _listing(group, "list", "sandboxes:show", "list the sandboxes, newest first")
    listing.add_argument("--all", action="store_true", help="with those that are over")
    _listing(group, "show", "sandboxes:details", "all about a sandbox", "ID")
    log = _listing(group, "log", "sandboxes:log", "what ran in a sandbox, newest first", "ID")
    log.add_argument("--limit", type=int, default=50, metavar="N")
    _confirmed(_command(group, "destroy", "sandboxes:destroy", "end one, with its files", "ID"))


def _operations(commands: Groups) -> None:
    sync = _listing(commands, "sync", "operations:sync", "register repositories found on disk")
    sync.add_argument("--private", action="store_true", help="register them as private")
    maintenance = _group(commands, "maintenance", "housekeeping of repositories")
    _command(maintenance, "run", "operations:maintain", "do now what is due", "OWNER/REPO")
    jobs = _group(commands, "jobs", "work that the daemon does in the background")
    listing = _listing(jobs, "list", "operations:jobs", "list the newest jobs")
    listing.add_argument("--state", choices=("queued", "running", "done", "failed"))
    listing.add_argument("--limit", type=int, default=50, metavar="N")
    _command(jobs, "cancel", "operations:cancel", "end a job", "ID")
    doctor = _command(commands, "doctor", "doctor:doctor",
                      "look for what is wrong and say what to do", writes=False)  # fmt: skip
    doctor.add_argument("--full", action="store_true", help="git fsck every repository")
    migrate = _command(commands, "migrate", "schema:migrate",
                       "bring the database to this version's schema", writes=False)  # fmt: skip
    migrate.add_argument("--check", action="store_true", help="say what would be done; 1: behind")
    _command(commands, "trpc-types", "trpc_types:show",
             "print the TypeScript types of the tRPC API", writes=False)  # fmt: skip
    config = _group(commands, "config", "settings")
    _command(config, "print", "settings:show", "print every value and where it comes from",
             writes=False)  # fmt: skip


def _backups(commands: Groups) -> None:
    backup = _command(commands, "backup", "backups:backup",
                      "save everything to a tar file (.gz: compressed)", writes=False)  # fmt: skip
    restore = _command(commands, "restore", "backups:restore",
                       "fill an empty data folder from a backup", writes=False)  # fmt: skip
    for command in (backup, restore):
        command.add_argument("file", metavar="FILE", type=Path)
    restore.add_argument(
        "--force",
        action="store_true",
        help="replace what is there; repositories are kept aside",
    )
