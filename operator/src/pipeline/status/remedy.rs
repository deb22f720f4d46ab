//! Says what helps where the API server refuses pods because of what the data plane's container asks for.

/// The remedy, where a refusal speaks of amounts; `place` is the field of the manifest that says where the data plane
/// runs.
pub(super) fn of_amounts(message: &str, place: &str) -> Option<String> {
    let fields = bounded(message);
    if !fields.is_empty() {
        let fields: Vec<String> =
            fields.iter().map(|field| format!("{place}.resources.{field}")).collect();
        return Some(format!(
            "have {} keep to the namespace's LimitRange, or change that",
            fields.join(" and ")
        ));
    }
    let words = message.to_lowercase();
    ["resources", "requests", "limits"].iter().any(|word| words.contains(word)).then(|| {
        format!(
            "have whoever refuses them admit the container weir-sidecar, for whose amounts {place}.resources is there"
        )
    })
}

/// The amounts that a quota wants and nobody gives.
pub(super) fn unspecified(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("must specify ")?;
    rest.split(" for:").next().map(str::trim)
}

/// Which amounts a LimitRange doesn't allow, as `limits.memory`.
fn bounded(message: &str) -> Vec<String> {
    let mut fields = Vec::new();
    for kind in ["cpu", "memory"] {
        for bound in ["minimum", "maximum"] {
            let phrase = format!("{bound} {kind} usage per ");
            let Some((_, rest)) = message.split_once(&phrase) else { continue };
            // Up to what is said of the next one.
            let said = rest.split("imum ").next().unwrap_or_default();
            let is_request = said.contains("request");
            fields.push(format!("{}.{kind}", if is_request { "requests" } else { "limits" }));
        }
        if message.contains(&format!("{kind} max limit to request ratio per ")) {
            fields.push(format!("limits.{kind}"));
        }
    }
    fields.sort();
    fields.dedup();
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_range_names_the_amounts_that_it_does_not_allow() {
        let said = "pods \"web-1\" is forbidden: [maximum memory usage per Container is 128Mi, but limit is 256Mi, \
                    minimum cpu usage per Container is 100m, but request is 20m]";
        let remedy = of_amounts(said, "placement.sidecar").unwrap();
        let wanted = "placement.sidecar.resources.limits.memory and placement.sidecar.resources.requests.cpu";
        assert!(remedy.contains(wanted), "{remedy}");
        let said = "pods \"orders-1\" is forbidden: maximum cpu usage per Pod is 1.  No limit is specified";
        let remedy = of_amounts(said, "placement.gateway").unwrap();
        assert!(remedy.contains("placement.gateway.resources.limits.cpu "), "{remedy}");
        let said =
            "memory max limit to request ratio per Container is 2, but provided ratio is 4.000000";
        assert_eq!(bounded(said), ["limits.memory"]);
    }

    #[test]
    fn a_policy_that_speaks_of_amounts_is_told_from_one_that_speaks_of_something_else() {
        let said = "admission webhook denied the request: CPU and memory Limits are required";
        assert!(
            of_amounts(said, "placement.sidecar").unwrap().contains("placement.sidecar.resources")
        );
        assert_eq!(
            of_amounts("admission webhook denied it: no sidecars here", "placement.sidecar"),
            None
        );
    }

    #[test]
    fn what_a_quota_wants_is_named() {
        let said =
            "pods \"a\" is forbidden: failed quota: all: must specify limits.cpu for: weir-sidecar";
        assert_eq!(unspecified(said), Some("limits.cpu"));
        assert_eq!(unspecified("exceeded quota"), None);
    }
}
