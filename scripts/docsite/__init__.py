"""What makes the documentation site beside MkDocs: pictures at build time, notebooks as pages, roles in docstrings."""
