-- Live casts with the time at which they reached the network, and its day in UTC.
select
    hash,
    fid,
    text,
    parent_hash,
    parent_url,
    app_fid,
    coalesce(block_time, "timestamp") as network_time,
    (coalesce(block_time, "timestamp") at time zone 'UTC')::date as day
from {{ source('replica', 'casts') }}
where deleted_at is null
