"""From a git URL to a slug, as a program of its own that knows no cluster.

`python -m builders` reads a build request, clones one commit, finds out what kind of app it is, installs what
the app needs beside it and packs the result into one archive, whose sha256 is its name. It runs as a child of
whoever wants a slug, in a sandbox: nothing that can hang, leak or be hostile happens in the caller's process.
The caller may import `git_url`, `request`, `codec`, `errors`, `interpreters` and `archive`; GitPython is
imported in the child only.
"""
