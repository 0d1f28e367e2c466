"""The worker process: owners, ingress and activities on their threads, and how they start and stop."""
