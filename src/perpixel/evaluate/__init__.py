"""How good predictions are: of a model over a data set, or of files that any tool made; and the reports on it."""
