//! Writes the final counters where whoever started the process finds them: in a pod, that is the
//! container's termination message, which the kubelet puts into the pod's status.

use std::{fs, io, path::Path};

use serde_json::Value;
use weir_slo::Samples;

/// What the kubelet keeps of a termination message, in bytes.
const MOST: usize = 4_096;

/// What an evaluator does not need of a process that is gone.
const SUPERFLUOUS: [&str; 3] = ["sources", "subscribers", "deliveries"];

/// Writes the counters of the objectives, as a samples document.
///
/// # Errors
///
/// The file can't be written.
pub(super) fn write(path: &Path, samples: &Samples) -> io::Result<()> {
    fs::write(path, render(samples.clone())?)
}

/// The document, without the SLOs at its end for which there is no room.
fn render(mut samples: Samples) -> io::Result<String> {
    loop {
        let text = compact(&samples)?;
        if text.len() <= MOST {
            return Ok(text);
        }
        let left_out = samples.pipelines.iter_mut().rev().find_map(|pipeline| pipeline.slos.pop());
        match left_out {
            Some(slo) => tracing::warn!(slo = slo.name, "no room for the final counters"),
            None => samples.pipelines.clear(),
        }
    }
}

fn compact(samples: &Samples) -> io::Result<String> {
    let mut document = serde_json::to_value(samples)?;
    let pipelines = document.get_mut("pipelines").and_then(Value::as_array_mut);
    for pipeline in pipelines.into_iter().flatten().filter_map(Value::as_object_mut) {
        SUPERFLUOUS.iter().for_each(|name| drop(pipeline.remove(*name)));
    }
    serde_json::to_string(&document).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use weir_slo::{Counts, Instance, ObjectiveSample, PipelineSample, SloSample, Timestamp};

    use super::*;

    fn samples(slos: usize) -> Samples {
        let objective = ObjectiveSample {
            name: "latency".to_owned(),
            fingerprint: "latency/50ms".to_owned(),
            current: Counts::new(7, 9),
            ..ObjectiveSample::default()
        };
        let slo = |n| SloSample {
            namespace: "shop".to_owned(),
            name: format!("feed-{n}"),
            generation: Some(3),
            objectives: vec![objective.clone()],
        };
        let pipeline = PipelineSample {
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
            slos: (0..slos).map(slo).collect(),
            ..PipelineSample::default()
        };
        let instance = Instance {
            id: "a".to_owned(),
            started_at: Timestamp::from_millis(1),
            version: "0.1.0".to_owned(),
        };
        let api_version = weir_slo::SAMPLES_V1.to_owned();
        let now = Timestamp::from_millis(2);
        Samples { api_version, instance, now, refused: None, pipelines: vec![pipeline] }
    }

    #[test]
    fn an_evaluator_reads_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("message");
        write(&path, &samples(2)).unwrap();
        let read: Samples = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        assert!(read.is_understood());
        let counts = read.objective("shop", "feed-1", "latency").unwrap().current;
        assert_eq!((counts.good, counts.total), (7, 9));
    }

    #[test]
    fn what_the_kubelet_would_cut_off_is_left_out_whole() {
        let text = render(samples(200)).unwrap();
        let read: Samples = serde_json::from_str(&text).unwrap();
        assert!(text.len() <= MOST);
        assert!(read.objective("shop", "feed-10", "latency").is_some());
        assert!(read.objective("shop", "feed-199", "latency").is_none());
    }
}
