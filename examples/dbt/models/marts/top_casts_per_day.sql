-- The ten most liked casts of each day.
with ranked as (
    select
        c.day,
        row_number() over (partition by c.day order by k.likes desc, k.recasts desc, c.hash) as place,
        '0x' || encode(c.hash, 'hex') as hash,
        c.fid,
        p.username,
        c.text,
        k.likes,
        k.recasts,
        k.replies
    from {{ ref('live_casts') }} as c
    inner join {{ source('replica', 'cast_counts') }} as k on k.hash = c.hash
    left join {{ source('replica', 'user_profiles') }} as p on p.fid = c.fid and p.deleted_at is null
    where k.likes > 0
)

select * from ranked where place <= 10
