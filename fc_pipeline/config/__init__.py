"""Configuration: settings, the file `.env`, the project folder, and Postgres' URL."""
