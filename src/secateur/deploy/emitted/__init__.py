"""Folders that measure themselves on another device."""
