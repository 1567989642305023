"""The routes of the API.

They read requests and write responses; the layers below decide what happens.
"""
