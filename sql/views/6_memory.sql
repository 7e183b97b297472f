-- What batches of each model took of each device, beside what was estimated for them. Where `out_of_memory` is true,
-- `measured_bytes` is what the batch was admitted to, and exceeded: half its segments are tried from then on.
CREATE OR REPLACE VIEW reporting.memory AS
SELECT model.name AS model,
       model.revision AS model_revision,
       model.spec ->> 'dtype' AS dtype,
       peak.device,
       peak.stage,
       peak.shape,
       peak.segments,
       peak.estimated_bytes,
       peak.measured_bytes,
       peak.measured_bytes::float8 / peak.estimated_bytes AS measured_to_estimated,
       peak.out_of_memory,
       peak.measured_at,
       peak.run_id,
       model.hash AS model_hash
FROM nightreel.memory_peaks AS peak
JOIN nightreel.models AS model ON model.id = peak.model_id;
