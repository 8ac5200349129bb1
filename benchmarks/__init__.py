"""What routing costs beside SQLAlchemy alone, and how fast replicas follow: `dev.py bench`."""
