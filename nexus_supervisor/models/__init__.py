"""The user's models: how they are loaded, how strictly they judge, and the marks that give fields a meaning.

Importing this package brings no pydantic: a worker pays for it only when it builds its first entry.
"""
