"""Revisions as files of wrangler, the tool of Cloudflare's D1."""
