-- What was done through each app per day. Messages whose key's app is not known have none, and are left out.
with done as (
    select day, app_fid, fid, 1 as casts, 0 as reactions from {{ ref('live_casts') }}
    union all
    select day, app_fid, fid, 0, 1 from {{ ref('live_reactions') }}
)

select
    d.day,
    d.app_fid,
    min(p.username) as app,
    count(distinct d.fid) as users,
    sum(d.casts) as casts,
    sum(d.reactions) as reactions
from done as d
left join {{ source('replica', 'user_profiles') }} as p on p.fid = d.app_fid and p.deleted_at is null
where d.app_fid is not null
group by d.day, d.app_fid
