"""The migrations, oldest first; each says in its docstring what it brings."""
