"""The `mnist` command."""
