"""Tests in a real browser, against servers of their own.

A package, unlike the other folders, so that server and browser end with it: an event loop belongs to the browser, which
would disturb the tests of other folders.
"""
