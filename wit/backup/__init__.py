"""Everything that a site is, in one tar file, and a site made of such a file.

The file is plain tar (gzipped if its name says so)::

    manifest.json                  format, wit's version, revision of the schema, time
    db/<table>.jsonl               rows, in a form of neither database engine
    repos/<owner>/<name>.git/...   refs first, then the objects that they need
    packages/<sha512>              what was published, if it is kept in a local folder
    ssh/<host key>, wit.toml
    end.json                       what the file must hold; its absence means: cut off

The rows are of one moment and are taken first; each repository's refs are of one later moment and
are taken before its objects. So every object that a ref needs is there while people go on
pushing, and a ref may be newer than the journal, never older.
"""
