"""Pictures: every view is a pure function from named data to a matplotlib figure; nothing here is loaded before it is asked for."""
