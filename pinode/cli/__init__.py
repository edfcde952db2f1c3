"""The command line: `pinode GROUP:VERB …`. It talks to a node over HTTP and has no rules of its own.

It must be quick on a Pi Zero, so it imports neither aiohttp nor cryptography, and a command's module only
when the command is used.
"""
