"""A simulated handheld: everything an officer's device keeps and does, offline first.

It follows docs/protocol.md alone and shares nothing with the server but the wire schemas and the pure sync algorithm.
"""
