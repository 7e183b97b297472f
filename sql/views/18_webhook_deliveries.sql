-- Events for webhooks, without their payloads. `host`: of the receiver; the rest of its URL may be a secret. `state`:
-- waiting (until `next_at`), delivered, dead (all attempts failed: `nightreel webhooks retry` sends it again) or dropped
-- (it must not be sent). `status`: the HTTP status of the last attempt; `error`: what was wrong with it.
CREATE OR REPLACE VIEW reporting.webhook_deliveries AS
SELECT delivery.id AS delivery_id,
       delivery.event_id,
       delivery.webhook_id,
       substring(webhook.url FROM '^[a-z]+://([^/?#]*)') AS host,
       delivery.type,
       delivery.video_id,
       delivery.state,
       delivery.attempts,
       delivery.status,
       delivery.error,
       delivery.created_at,
       CASE delivery.state WHEN 'waiting' THEN delivery.next_at END AS next_at,
       delivery.ended_at,
       video.restricted
FROM nightreel.webhook_deliveries AS delivery
JOIN nightreel.videos AS video ON video.id = delivery.video_id
JOIN nightreel.webhooks AS webhook ON webhook.id = delivery.webhook_id;
