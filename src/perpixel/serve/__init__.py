"""The three tasks over HTTP: `create_app` in `app.py` makes the application, `process.py` runs it."""
