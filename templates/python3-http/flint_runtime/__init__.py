"""The HTTP server around a function's handler."""
