-- How long threads wait for answers: from the root to its first reply, and from each cast to those that reply to it.
select
    '0x' || encode(t.root_hash, 'hex') as root_hash,
    min(r.fid) as root_fid,
    count(*) as replies,
    max(t.depth) as depth,
    min(c.network_time) - min(r.network_time) as first_reply_after,
    percentile_cont(0.5) within group (order by c.network_time - p.network_time) as median_reply_after
from {{ source('replica', 'cast_threads') }} as t
inner join {{ ref('live_casts') }} as c on c.hash = t.hash
inner join {{ ref('live_casts') }} as p on p.hash = t.parent_hash
inner join {{ ref('live_casts') }} as r on r.hash = t.root_hash
where t.depth > 0
group by t.root_hash
