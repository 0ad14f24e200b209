"""The coordinator: results stream in, answers go out, and workers run tests."""
