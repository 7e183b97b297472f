-- Deliveries to webhooks that wait or are dead, each counted up to :most, and how long the oldest waiting one has been due.
-- None is due while its webhook is paused.
SELECT (SELECT count(*) FROM (
            SELECT FROM nightreel.webhook_deliveries WHERE state = 'waiting' LIMIT :most
        ) AS waiting) AS waiting,
       (SELECT count(*) FROM (
            SELECT FROM nightreel.webhook_deliveries WHERE state = 'dead' LIMIT :most
        ) AS dead) AS dead,
       (SELECT coalesce(extract(epoch FROM greatest(now() - min(greatest(first.next_at, webhook.paused_until)), interval '0')), 0)
        FROM nightreel.webhooks AS webhook
        CROSS JOIN LATERAL (
            SELECT next_at FROM nightreel.webhook_deliveries
            WHERE webhook_id = webhook.id AND state = 'waiting' ORDER BY next_at LIMIT 1
        ) AS first) AS late_s
