//! What a gateway's container is granted: what was asked for, before what is usual.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use weir_crds::scalar::{Cores, Quantity as Bytes};
use weir_crds::v1alpha1::{Amounts, Resources};

/// The usual resources, with what was asked for in their place. What is usual gives way so that no request
/// is above its limit.
pub(super) fn of(usual: ResourceRequirements, wanted: Option<&Resources>) -> ResourceRequirements {
    let Some(Resources { requests, limits }) = wanted else { return usual };
    let ResourceRequirements { requests: usual_requests, limits: usual_limits, claims } = usual;
    let nothing = Amounts::default();
    let (requests, limits) =
        (requests.as_ref().unwrap_or(&nothing), limits.as_ref().unwrap_or(&nothing));
    let mut granted = Granted {
        requests: usual_requests.unwrap_or_default(),
        limits: usual_limits.unwrap_or_default(),
    };
    granted.grant("cpu", requests.cpu.as_ref(), limits.cpu.as_ref(), Cores::millis, cores);
    granted.grant("memory", requests.memory.as_ref(), limits.memory.as_ref(), Bytes::bytes, bytes);
    let Granted { requests, limits } = granted;
    ResourceRequirements { requests: Some(requests), limits: Some(limits), claims }
}

struct Granted {
    requests: BTreeMap<String, Quantity>,
    limits: BTreeMap<String, Quantity>,
}

impl Granted {
    fn grant<T, N: Ord>(
        &mut self,
        what: &str,
        request: Option<&T>,
        limit: Option<&T>,
        amount: impl Fn(&T) -> N,
        text: impl Fn(&T) -> String,
    ) where
        T: std::str::FromStr,
    {
        let usual = |map: &BTreeMap<String, Quantity>| map.get(what)?.0.parse::<T>().ok();
        let (usual_request, usual_limit) = (usual(&self.requests), usual(&self.limits));
        let mut set = |map: fn(&mut Self) -> &mut BTreeMap<String, Quantity>, value: &T| {
            map(self).insert(what.to_owned(), Quantity(text(value)));
        };
        if let Some(limit) = limit {
            set(|granted| &mut granted.limits, limit);
            if usual_request.is_some_and(|usual| amount(&usual) > amount(limit)) {
                set(|granted| &mut granted.requests, limit);
            }
        }
        if let Some(request) = request {
            set(|granted| &mut granted.requests, request);
            let above = usual_limit.is_some_and(|usual| amount(request) > amount(&usual));
            if limit.is_none() && above {
                set(|granted| &mut granted.limits, request);
            }
        }
    }
}

/// Cores as Kubernetes writes them, so that what is read back equals what was written.
fn cores(cores: &Cores) -> String {
    match cores.millis() {
        millis if millis.is_multiple_of(1_000) => (millis / 1_000).to_string(),
        millis => format!("{millis}m"),
    }
}

fn bytes(bytes: &Bytes) -> String {
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn granted(wanted: &Value) -> Value {
        let usual = json!({
            "requests": { "cpu": "20m", "memory": "64Mi" }, "limits": { "memory": "256Mi" },
        });
        let usual = serde_json::from_value(usual).unwrap();
        let wanted: Resources = serde_json::from_value(wanted.clone()).unwrap();
        serde_json::to_value(of(usual, Some(&wanted))).unwrap()
    }

    #[test]
    fn what_is_asked_for_takes_the_place_of_what_is_usual() {
        let wanted = json!({
            "requests": { "cpu": "0.5", "memory": "128Mi" },
            "limits": { "cpu": "2", "memory": "1Gi" },
        });
        let expected = json!({
            "requests": { "cpu": "500m", "memory": "128Mi" },
            "limits": { "cpu": "2", "memory": "1Gi" },
        });
        assert_eq!(granted(&wanted), expected);
        let usual = json!({
            "requests": { "cpu": "20m", "memory": "64Mi" }, "limits": { "memory": "256Mi" },
        });
        assert_eq!(granted(&json!({})), usual);
    }

    #[test]
    fn what_is_usual_gives_way_where_a_request_would_be_above_its_limit() {
        let expected = json!({
            "requests": { "cpu": "10m", "memory": "512Mi" },
            "limits": { "cpu": "10m", "memory": "512Mi" },
        });
        let wanted = json!({ "requests": { "memory": "512Mi" }, "limits": { "cpu": "10m" } });
        assert_eq!(granted(&wanted), expected);
    }
}
