-- Measured and estimated memory of batches, by model and device. If `out_of_memory` is true, `measured_bytes` is the
-- budget that the batch exceeded: later batches have half its segments.
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
