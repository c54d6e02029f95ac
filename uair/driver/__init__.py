"""Compilation and running as a whole: where the IR, the passes and the codegens meet, below the API."""
