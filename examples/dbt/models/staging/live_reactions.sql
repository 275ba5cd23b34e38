-- Live likes and recasts of casts, by the day in UTC on which they reached the network.
select
    fid,
    type,
    target_fid,
    target_hash,
    app_fid,
    (coalesce(block_time, "timestamp") at time zone 'UTC')::date as day
from {{ source('replica', 'reactions') }}
where deleted_at is null and target_hash is not null
