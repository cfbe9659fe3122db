"""The checkpoint keys: their material, their rotation, and which one signs which log."""
