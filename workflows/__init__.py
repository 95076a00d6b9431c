"""Which tasks, in which order: recipes, the plan, the ledger, the run loop, the report and the command line."""
