"""The application of the notice board."""
