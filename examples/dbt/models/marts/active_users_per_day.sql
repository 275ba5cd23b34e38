-- Users who did something, as the feed told of it; received likes and the like do not make one active.
select
    (hour at time zone 'UTC')::date as day,
    count(distinct fid) as active_users,
    count(distinct fid) filter (where casts > 0) as casting_users,
    sum(casts) as casts,
    sum(likes) as likes,
    sum(recasts) as recasts,
    sum(follows) as follows
from {{ source('replica', 'fid_activity') }}
where casts + casts_removed + likes + recasts + follows + unfollows > 0
group by 1
