"""What any project needs: atomic files, Ctrl-C, progress, quiet stderr, array types."""
