"""`user_profiles`: one row per FID, derived from the rows of its user data, verifications and registration."""

from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Index

__all__ = ["PROFILE_CHAIN_EVENT", "PROFILE_SOURCES", "USER_PROFILES"]

USER_PROFILES = DataTable(
    name="user_profiles",
    description="One row per FID: what an app shows of a user.",
    sql_example=(
        "SELECT fid, username, display_name, bio FROM user_profiles\n"
        "WHERE deleted_at IS NULL ORDER BY updated_at DESC LIMIT 20;"
    ),
    key=("fid",),
    columns=(
        Column("fid", ColumnType.BIGINT, "The user", nullable=False),
        Column("username", ColumnType.TEXT, "Name that the user shows; its proof is in username_proofs"),
        Column("display_name", ColumnType.TEXT, "Display name"),
        Column("bio", ColumnType.TEXT, "Bio"),
        Column("pfp_url", ColumnType.TEXT, "Profile picture"),
        Column("url", ColumnType.TEXT, "Web site"),
        Column("location", ColumnType.TEXT, "geo:LAT,LON"),
        Column("twitter", ColumnType.TEXT, "X account"),
        Column("github", ColumnType.TEXT, "GitHub account"),
        Column("banner_url", ColumnType.TEXT, "Banner picture"),
        Column("primary_eth_address", ColumnType.TEXT, "As the user set it, else the address verified first"),
        Column("primary_sol_address", ColumnType.TEXT, "As the user set it, else the address verified first"),
        Column("custody_address", ColumnType.TEXT, "Address that owns the FID, 0x-hex"),
        Column("registered_at", ColumnType.TIMESTAMP, "When the FID was registered"),
        Column("updated_at", ColumnType.TIMESTAMP, "Time of the newest message or contract event behind the row"),
    ),
    indexes=(Index(("username",), where="username IS NOT NULL"),),
    comparison=Comparison.DERIVED,
)

PROFILE_SOURCES = ("user_data", "verifications", "on_chain_events")
"""Tables whose rows a profile is derived from."""

PROFILE_CHAIN_EVENT = "id_register"
"""The only type of on_chain_events that affects a profile: registrations and transfers."""
