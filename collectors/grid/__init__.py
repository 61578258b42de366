"""Where the grid's carbon intensity comes from: one file for each provider."""
