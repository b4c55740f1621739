"""Signaling: rooms, server and client. Stands alone: imports nothing of p2pshare."""
