"""Shapes that several protocols share; a protocol imports these, and never another protocol.

Private.
"""
