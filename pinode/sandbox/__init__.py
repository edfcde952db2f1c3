"""The walls around what strangers wrote: builds and dynos see the system read-only, their own files, and no
node.

A `SandboxSpec` says what a child may see and take; `command_line` makes bubblewrap's arguments of it, and
`prepared` what is handed to the new process. Where bubblewrap is missing and the settings allow it, the same
child runs without walls, with the same process tree, and that is said wherever people look.
"""
