-- name: api.active_users
-- group: statistics
-- description: Users who did the most (casts, likes, recasts and follows) in the hours of a stretch of time, which ends now
-- description: or at the moment given. The hour in which it begins counts as a whole.
-- example: SELECT * FROM api.active_users(until => (SELECT max(hour) FROM fid_activity));
CREATE OR REPLACE FUNCTION api.active_users(span interval DEFAULT '1 hour', until timestamptz DEFAULT NULL,
  page_size integer DEFAULT 25)
RETURNS TABLE (fid bigint, username text, actions bigint, casts bigint, likes bigint, recasts bigint, follows bigint)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT a.fid, p.username, a.actions, n.casts, n.likes, n.recasts, n.follows FROM (
    -- Only those that are shown are looked up. What one does in an hour is a small number, which is quicker to add.
    SELECT s.fid, sum((s.casts + s.likes + s.recasts + s.follows)::integer) AS actions FROM public.fid_activity AS s
    WHERE s.hour >= date_trunc('hour', coalesce(active_users.until, now()) - active_users.span, 'UTC')
      AND s.hour <= coalesce(active_users.until, now()) AND s.deleted_at IS NULL
      AND s.casts + s.likes + s.recasts + s.follows > 0
    GROUP BY s.fid ORDER BY 2 DESC, s.fid LIMIT api.page_rows(active_users.page_size)) AS a
  CROSS JOIN LATERAL (
    SELECT sum(s.casts)::bigint AS casts, sum(s.likes)::bigint AS likes, sum(s.recasts)::bigint AS recasts,
      sum(s.follows)::bigint AS follows FROM public.fid_activity AS s
    WHERE s.fid = a.fid AND s.hour >= date_trunc('hour', coalesce(active_users.until, now()) - active_users.span, 'UTC')
      AND s.hour <= coalesce(active_users.until, now()) AND s.deleted_at IS NULL) AS n
  LEFT JOIN LATERAL (SELECT q.username FROM public.user_profiles AS q
    WHERE q.fid = a.fid AND q.deleted_at IS NULL LIMIT 1) AS p ON true
  ORDER BY a.actions DESC, a.fid
$$;

-- name: api.user_statistics
-- group: statistics
-- description: What a user did and received, by hour, the latest first: the hours from since to before until, in which there
-- description: is something.
-- example: SELECT * FROM api.user_statistics((SELECT fid FROM fid_activity LIMIT 1), since => '2021-01-01');
CREATE OR REPLACE FUNCTION api.user_statistics(user_fid bigint, since timestamptz DEFAULT now() - interval '7 days',
  until timestamptz DEFAULT 'infinity')
RETURNS TABLE (hour timestamptz, casts bigint, replies bigint, likes bigint, recasts bigint, follows bigint,
  likes_received bigint, recasts_received bigint, replies_received bigint, follows_received bigint)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT s.hour, s.casts, s.replies, s.likes, s.recasts, s.follows, s.likes_received, s.recasts_received,
    s.replies_received, s.follows_received
  FROM public.fid_activity AS s
  WHERE s.fid = user_statistics.user_fid AND s.hour >= coalesce(user_statistics.since, '-infinity')
    AND s.hour < coalesce(user_statistics.until, 'infinity') AND s.deleted_at IS NULL
  ORDER BY s.hour DESC
$$;

-- name: api.hourly_statistics
-- group: statistics
-- description: What all users did, by hour, and how many did something, the latest first: by default the last day.
-- example: SELECT * FROM api.hourly_statistics(since => '2021-01-01');
CREATE OR REPLACE FUNCTION api.hourly_statistics(since timestamptz DEFAULT now() - interval '1 day',
  until timestamptz DEFAULT 'infinity')
RETURNS TABLE (hour timestamptz, active_users bigint, casts bigint, replies bigint, likes bigint, recasts bigint,
  follows bigint)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT s.hour, count(*) FILTER (WHERE s.casts + s.likes + s.recasts + s.follows > 0), sum(s.casts)::bigint,
    sum(s.replies)::bigint, sum(s.likes)::bigint, sum(s.recasts)::bigint, sum(s.follows)::bigint
  FROM public.fid_activity AS s
  WHERE s.hour >= coalesce(hourly_statistics.since, '-infinity')
    AND s.hour < coalesce(hourly_statistics.until, 'infinity') AND s.deleted_at IS NULL
  GROUP BY s.hour ORDER BY s.hour DESC
$$
