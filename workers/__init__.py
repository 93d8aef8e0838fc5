"""Worker programs; installed as nexus_workers."""
