"""Calls of the Linux kernel with which a process takes rights away from itself. It knows nothing about videos."""
