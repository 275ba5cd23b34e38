"""Who shows a name: profiles hide a name whose proof is another's, so they follow the name's proofs."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX user_data_value_idx ON public.user_data (value) WHERE type = 'username'")
    op.execute(
        "COMMENT ON COLUMN public.user_profiles.username IS 'Name that the user shows, unless its proof is another''s'"
    )
    op.execute(
        "UPDATE public.user_profiles AS p SET username = NULL FROM public.username_proofs AS n "
        "WHERE n.name = p.username AND n.deleted_at IS NULL AND n.fid <> p.fid AND NOT EXISTS (SELECT FROM "
        "public.username_proofs AS o WHERE o.name = p.username AND o.deleted_at IS NULL AND o.fid = p.fid)"
    )


def downgrade() -> None:
    op.execute("DROP INDEX public.user_data_value_idx")
