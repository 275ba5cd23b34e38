-- Casts below each channel's URL, replies at any distance included.
select
    c.day,
    t.root_url as channel_url,
    count(*) as casts,
    count(*) filter (where t.depth > 0) as replies,
    count(distinct c.fid) as authors
from {{ ref('live_casts') }} as c
inner join {{ source('replica', 'cast_threads') }} as t on t.hash = c.hash
where t.root_url is not null
group by 1, 2
