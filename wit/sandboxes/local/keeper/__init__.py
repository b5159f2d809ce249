"""The keeper: a small program beside the daemon that makes and enters sandboxes' namespaces.

Namespaces belong to threads and some can only be entered by a process with a single one, so the
daemon cannot do this itself. The keeper forks for every request (:mod:`.service`); the child makes
the walls of a sandbox (:mod:`.walls`), becomes a command inside them (:mod:`.launch`), or works on
its files (:mod:`.files`). It imports the standard library only, knows no users of wit and decides
nothing. When the daemon ends, however it ends, the keeper does, and with it every command that it
started.
"""
