//! What whoever asks may do, of what this program needs.

use super::finding::{Finding, Verdict};
use super::observe::Read;

/// Something that a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permission {
    pub(super) verb: &'static str,
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
    pub(super) subresource: Option<&'static str>,
    /// Which commands need it.
    pub(super) commands: &'static str,
}

const fn list(group: &'static str, resource: &'static str, commands: &'static str) -> Permission {
    Permission { verb: "list", group, resource, subresource: None, commands }
}

const fn forward(verb: &'static str) -> Permission {
    Permission {
        verb,
        group: "",
        resource: "pods",
        subresource: Some("portforward"),
        commands: "status PIPELINE, tail and publish",
    }
}

/// Everything that the commands need.
pub(super) const NEEDED: &[Permission] = &[
    list("weir.dev", "streampipelines", "status, tail, publish and inject"),
    list("weir.dev", "streamslos", "status and slo"),
    list("", "pods", "status, tail and publish"),
    // An API server before 1.35 asks for the one or the other, by the way in which it is reached.
    forward("get"),
    forward("create"),
];

/// What is to be said of them.
pub(super) fn judge(found: &[(Permission, Read<bool>)]) -> Finding {
    const SUBJECT: &str = "your permissions";
    if let Some(reason) = found.iter().find_map(|(_, read)| read.as_ref().err()) {
        return Finding::unknown(SUBJECT, reason);
    }
    let lacking: Vec<_> = found
        .iter()
        .filter(|(_, read)| read == &Ok(false))
        .map(|(permission, _)| {
            let Permission { verb, group: _, resource, subresource, commands } = permission;
            let subresource = subresource.map_or_else(String::new, |it| format!("/{it}"));
            format!("{verb} {resource}{subresource} (for {commands})")
        })
        .collect();
    if lacking.is_empty() {
        return Finding::ok(SUBJECT, "are all that this program needs");
    }
    let message = format!("you may not {}", lacking.join(", nor "));
    let remedy = "ask for the cluster role view or edit in the namespace, and for pods/portforward";
    Finding::wrong(Verdict::Warning, SUBJECT, message, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_named_with_what_needs_it() {
        let all = |allowed: bool| NEEDED.iter().map(|it| (*it, Ok(allowed))).collect::<Vec<_>>();
        assert_eq!(judge(&all(true)).verdict, Verdict::Ok);
        let mut some = all(true);
        some[3].1 = Ok(false);
        let finding = judge(&some);
        assert_eq!(finding.verdict, Verdict::Warning);
        assert!(finding.message.contains("get pods/portforward (for status PIPELINE, tail"));
    }
}
