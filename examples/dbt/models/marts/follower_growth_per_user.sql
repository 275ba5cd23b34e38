-- Followers who came on a day and are still there, those who left on it, and how many of all up to then are still there.
with changes as (
    select target_fid as fid, (coalesce(block_time, "timestamp") at time zone 'UTC')::date as day, 1 as came, 0 as went
    from {{ source('replica', 'links') }}
    where type = 'follow' and deleted_at is null
    union all
    select target_fid, (deleted_at at time zone 'UTC')::date, 0, 1
    from {{ source('replica', 'links') }}
    where type = 'follow' and deleted_reason in ('removed', 'compacted')
)

select
    fid,
    day,
    sum(came) as came,
    sum(went) as went,
    sum(sum(came)) over (partition by fid order by day) as followers
from changes
group by fid, day
