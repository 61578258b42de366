"""What a site declares: the YAML schema, its loading and its errors, and the reference tables."""
