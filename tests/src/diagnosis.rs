//! Shows the state of a namespace in which a test failed, in the words of kubectl.

use std::fmt::Write as _;

use crate::Kubectl;

/// What a person would type, in the order in which they would look.
const LOOKS: &[&[&str]] = &[
    &["get", "pods,deployments,replicasets,services,configmaps", "--output=wide"],
    &["get", "streampipelines,streamslos", "--output=yaml"],
    &[
        "get",
        "pods",
        "--output=jsonpath={range .items[*]}{.metadata.name}{range .status['initContainerStatuses','containerStatuses'][*]}{'\\n  '}{.name} restarts={.restartCount} {.state}{end}{'\\n'}{end}",
    ],
    &["get", "events", "--sort-by=.lastTimestamp"],
];

/// The end of a log is where the reason stands.
const TAIL: &str = "--tail=200";

/// The namespace's objects, events and logs. What cannot be had is said instead of shown.
pub(crate) async fn of(kubectl: &Kubectl) -> String {
    let mut text = String::new();
    for look in LOOKS {
        add(&mut text, kubectl, look).await;
    }
    let pods = kubectl.succeed(&["get", "pods", "--output=name"]).await.unwrap_or_default();
    for pod in pods.lines() {
        add(&mut text, kubectl, &["logs", pod, "--all-containers", "--prefix", TAIL]).await;
        let previous = ["logs", pod, "--all-containers", "--prefix", "--previous", TAIL];
        if let Ok(log) = kubectl.succeed(&previous).await {
            section(&mut text, &previous, &log);
        }
    }
    text
}

async fn add(text: &mut String, kubectl: &Kubectl, arguments: &[&str]) {
    let shown = kubectl.succeed(arguments).await.unwrap_or_else(|error| format!("{error:#}"));
    section(text, arguments, &shown);
}

fn section(text: &mut String, arguments: &[&str], shown: &str) {
    // Writing to a string cannot fail.
    let _infallible = writeln!(text, "--- kubectl {}\n{}", arguments.join(" "), shown.trim_end());
}
