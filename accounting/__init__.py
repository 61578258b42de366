"""What the numbers mean: domain types, attribution, emissions, the ledger, audit and reports."""
