-- The delivery of a webhook that has been due for longest, locked until the transaction ends; other deliverers skip it.
-- `is_restricted`: its video is restricted now, whatever it was when the event was written.
SELECT delivery.id,
       delivery.event_id,
       delivery.payload,
       delivery.attempts,
       webhook.id AS webhook_id,
       webhook.url,
       webhook.secret,
       CASE WHEN webhook.old_secret_until > now() THEN webhook.old_secret END AS old_secret,
       webhook.restricted AS may_be_restricted,
       video.restricted AS is_restricted
FROM nightreel.webhook_deliveries AS delivery
JOIN nightreel.videos AS video ON video.id = delivery.video_id
JOIN nightreel.webhooks AS webhook ON webhook.id = delivery.webhook_id
WHERE delivery.state = 'waiting'
  AND delivery.webhook_id = :webhook_id
  AND delivery.next_at <= now()
  AND webhook.disabled_at IS NULL
  AND (webhook.paused_until IS NULL OR webhook.paused_until <= now())
ORDER BY delivery.next_at, delivery.id
LIMIT 1
FOR UPDATE OF delivery SKIP LOCKED
