"""What the views of schemas `neynar` and `dune` are read by: indexes, statistics, and addresses as bytes."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

# Hex after 0x, or base58, which is what Solana's addresses are written in; null for anything else.
_ADDRESS_BYTES = """
CREATE FUNCTION pipeline.address_bytes(address text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  digits CONSTANT text := '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
  number numeric := 0;
  digit integer;
  made bytea := '';
BEGIN
  IF address ~ '^0x([0-9a-fA-F]{2})*$' THEN
    RETURN decode(substr(address, 3), 'hex');
  ELSIF length(address) > 128 THEN
    RETURN NULL;
  END IF;
  FOR place IN 1..length(address) LOOP
    digit := strpos(digits, substr(address, place, 1));
    IF digit = 0 THEN
      RETURN NULL;
    END IF;
    number := number * 58 + digit - 1;
  END LOOP;
  WHILE number > 0 LOOP
    made := decode(lpad(to_hex(mod(number, 4294967296)::bigint), 8, '0'), 'hex') || made;
    number := div(number, 4294967296);
  END LOOP;
  RETURN decode(repeat('00', length(address) - length(ltrim(address, '1'))), 'hex') || ltrim(made, decode('00', 'hex'));
END $$
"""
# Planned in place, so that a comparison reaches the index.
_INTEGER_OF = """
CREATE FUNCTION pipeline.integer_of(value bigint) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value BETWEEN -2147483648 AND 2147483647 THEN value::integer END
"""
_TIMES = (
    *((table, column) for table in ("casts", "reactions", "links") for column in ("timestamp", "updated_at")),
    *(("verifications", "updated_at"), ("user_data", "updated_at"), ("user_profiles", "changed_at")),
)
_ADDRESSES = (("verifications", "address"), ("user_profiles", "custody_address"))
_INTEGER_FIDS = ("username_proofs", "user_profiles", "storage_rents")
_LIVENESS = ("casts", "reactions", "links", "verifications", "user_data", "username_proofs", "user_profiles")


def upgrade() -> None:
    op.execute(_ADDRESS_BYTES)
    op.execute(_INTEGER_OF)
    op.execute("ALTER TABLE public.user_profiles ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now()")
    op.execute(
        "COMMENT ON COLUMN public.user_profiles.changed_at IS "
        "'When the transaction began that last changed this row here'"
    )
    for table, column in _TIMES:
        indexed = f"USING brin (timezone('UTC', \"{column}\"))"
        op.execute(f"CREATE INDEX {table}_{column}_idx ON public.{table} {indexed}")
    for table, column in _ADDRESSES:
        indexed = f"(pipeline.address_bytes({column}))"
        op.execute(f"CREATE INDEX {table}_{column}_bytes_idx ON public.{table} {indexed}")
    for table in _INTEGER_FIDS:
        indexed = "(pipeline.integer_of(fid))"
        op.execute(f"CREATE INDEX {table}_integer_fid_idx ON public.{table} {indexed}")
    for table in _LIVENESS:
        _statistics(table, "deleted_at", "timezone('UTC', deleted_at)")
    _statistics("reactions", "reaction_type", "(CASE type WHEN 'like' THEN 1 WHEN 'recast' THEN 2 END)::smallint")


def _statistics(table: str, name: str, expression: str) -> None:
    op.execute(f"CREATE STATISTICS public.{table}_{name}_stats ON ({expression}) FROM public.{table}")


def downgrade() -> None:
    op.execute("DROP SCHEMA IF EXISTS neynar, dune CASCADE")
    for table in _LIVENESS:
        op.execute(f"DROP STATISTICS IF EXISTS public.{table}_deleted_at_stats")
    op.execute("DROP STATISTICS IF EXISTS public.reactions_reaction_type_stats")
    for table in _INTEGER_FIDS:
        op.execute(f"DROP INDEX IF EXISTS public.{table}_integer_fid_idx")
    for table, column in _TIMES:
        op.execute(f"DROP INDEX IF EXISTS public.{table}_{column}_idx")
    op.execute("DROP TRIGGER IF EXISTS touch_casts ON public.cast_threads")
    op.execute("DROP FUNCTION IF EXISTS pipeline.touch_casts")
    op.execute("DROP FUNCTION IF EXISTS pipeline.stamp_changed_at CASCADE")  # and the trigger of user_profiles
    op.execute("DROP FUNCTION pipeline.address_bytes, pipeline.integer_of CASCADE")
    op.drop_column("user_profiles", "changed_at")
