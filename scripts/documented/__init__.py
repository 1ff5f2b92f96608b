"""The commands of README and docs, and the small files on which scripts/check_docs.py runs them."""
