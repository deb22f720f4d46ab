//! What the data plane's container is granted: what was asked for, before what is usual.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use weir_crds::scalar::{Cores, Quantity as Bytes};
use weir_crds::v1alpha1::{Amounts, Resources};

/// The usual resources, with what was asked for in their place. What is usual gives way so that no request
/// is above its limit.
pub(crate) fn of(usual: ResourceRequirements, wanted: Option<&Resources>) -> ResourceRequirements {
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

/// The largest amount of each kind that any of these grants, and at least `least_memory` bytes as the limit of
/// memory. What has no limit in some of them has the largest of the others'.
pub(crate) fn largest(
    all: impl IntoIterator<Item = ResourceRequirements>,
    least_memory: u64,
) -> ResourceRequirements {
    let mut granted = ResourceRequirements::default();
    for ResourceRequirements { requests, limits, claims: _ } in all {
        raise(granted.requests.get_or_insert_default(), requests.unwrap_or_default());
        raise(granted.limits.get_or_insert_default(), limits.unwrap_or_default());
    }
    let limits = granted.limits.get_or_insert_default();
    let least = Quantity(format!("{}Mi", least_memory.div_ceil(1 << 20)));
    raise(limits, BTreeMap::from([("memory".to_owned(), least)]));
    // A limit of the one may be below what another requests.
    let mut requests = granted.requests.clone().unwrap_or_default();
    requests.retain(|what, _| limits.contains_key(what));
    raise(limits, requests);
    granted
}

/// Raises what is there to these amounts, and adds what isn't.
fn raise(there: &mut BTreeMap<String, Quantity>, wanted: BTreeMap<String, Quantity>) {
    for (what, wanted) in wanted {
        let of = |quantity: &Quantity| amount(&what, &quantity.0);
        if there.get(&what).is_none_or(|found| of(found) < of(&wanted)) {
            there.insert(what, wanted);
        }
    }
}

/// An amount as anybody may have written it: of CPU in thousandths of a core, of anything else as a number.
/// `None` where it is none, or too large to be one.
pub(crate) fn amount(what: &str, text: &str) -> Option<u64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
    let (number, suffix) = text.split_at_checked(end)?;
    let number: f64 = number.parse().ok()?;
    let scaled = number * scale(suffix)? * if what == "cpu" { 1_000.0 } else { 1.0 };
    let whole = scaled.round();
    // A float holds every whole number below this one.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    (0.0..9.0e15).contains(&whole).then_some(whole as u64)
}

fn scale(suffix: &str) -> Option<f64> {
    let (base, power) = match suffix {
        "n" => (1e-3, 3),
        "u" => (1e-3, 2),
        "m" => (1e-3, 1),
        "" => (1.0, 0),
        "k" => (1e3, 1),
        "M" => (1e3, 2),
        "G" => (1e3, 3),
        "T" => (1e3, 4),
        "P" => (1e3, 5),
        "E" => (1e3, 6),
        "Ki" => (1024.0, 1),
        "Mi" => (1024.0, 2),
        "Gi" => (1024.0, 3),
        "Ti" => (1024.0, 4),
        "Pi" => (1024.0, 5),
        "Ei" => (1024.0, 6),
        _ => return None,
    };
    Some(f64::powi(base, power))
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

    fn shared(all: &[Value], least_memory: u64) -> Value {
        let all = all.iter().map(|one| serde_json::from_value(one.clone()).unwrap());
        serde_json::to_value(largest(all, least_memory)).unwrap()
    }

    #[test]
    fn of_several_the_largest_amount_of_each_kind_is_granted() {
        let one = json!({
            "requests": { "cpu": "500m", "memory": "64Mi" }, "limits": { "memory": "256Mi" },
        });
        let other = json!({
            "requests": { "cpu": "20m", "memory": "1Gi" },
            "limits": { "cpu": "100m", "memory": "1Gi" },
        });
        let expected = json!({
            "requests": { "cpu": "500m", "memory": "1Gi" },
            "limits": { "cpu": "500m", "memory": "1Gi" },
        });
        assert_eq!(shared(&[one.clone(), other], 0), expected);
        assert_eq!(shared(std::slice::from_ref(&one), 1), one);
        assert_eq!(shared(&[one], 300 << 20)["limits"]["memory"], "300Mi");
    }

    #[test]
    fn an_amount_is_read_however_it_is_written() {
        for (what, text, expected) in [
            ("cpu", "100m", Some(100)),
            ("cpu", "0.1", Some(100)),
            ("cpu", "2", Some(2_000)),
            ("cpu", "1500000u", Some(1_500)),
            ("cpu", "1e-1", Some(100)),
            ("memory", "64Mi", Some(64 << 20)),
            ("memory", "1.5Gi", Some(3 << 29)),
            ("memory", "128974848", Some(128_974_848)),
            ("memory", "129e6", Some(129_000_000)),
            ("memory", "129M", Some(129_000_000)),
            ("memory", "123k", Some(123_000)),
            ("memory", "1Q", None),
            ("memory", "Mi", None),
            ("memory", "9Ei", None),
            ("memory", "", None),
        ] {
            assert_eq!(amount(what, text), expected, "{what} {text}");
        }
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
