"""Adapters: one flat module for each kind of application, from an Agent to something that serves."""
