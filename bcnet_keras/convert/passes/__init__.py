"""Passes over converted flatbuffers, one a file."""
