"""How Alembic runs the migrations: inside the transaction of `accounting.ledger.upgrading`, or as SQL to be read."""

from __future__ import annotations

from alembic import context

from accounting.ledger.schema import metadata

if context.is_offline_mode():
    context.configure(dialect_name=context.config.attributes["dialect"], target_metadata=metadata, literal_binds=True)
else:
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
