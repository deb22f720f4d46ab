//! The condition EndpointsReady: subscribers are served at the URLs.

use kube::ResourceExt;
use weir_crds::names::{OF_SECRETS_DIR, SIDECAR_CONTAINER};
use weir_crds::v1alpha1::PlacementKind;
use weir_slo::{KeysSample, LogSample, PipelineSample};

use super::census::Census;
use super::remedy::{of_amounts, unspecified};
use super::{REFUSED_REMEDY, condition, current, refusal as refusal_of, refused, secrets, some};
use crate::conditions::{Finding, Status};
use crate::pipeline::observe::{Observed, Replica, Report, refusal};
use crate::pipeline::{Outcome, namespace};
use crate::selector;

/// How many replicas are named with what keeps them from starting.
const MOST_TROUBLES: usize = 3;

/// Finds the condition.
pub(super) fn find(observed: &Observed, census: &Census, outcome: &Outcome) -> Finding {
    let (status, reason, message) = match outcome {
        Outcome::Rejected(_) => (
            Status::False,
            "NotApplied",
            "the pipeline's objects are not written: see Ready".to_owned(),
        ),
        Outcome::Applied(_) | Outcome::Failed(_) if census.ready == 0 => absent(observed, census),
        Outcome::Applied(_) | Outcome::Failed(_) => serving(observed, census),
    };
    Finding { type_: condition::ENDPOINTS_READY, status, reason, message }
}

fn serving(observed: &Observed, census: &Census) -> (Status, &'static str, String) {
    let Census { desired, ready, outdated, barren, troubles, current: standing, .. } = census;
    let (cut_off, keyless) = (cut_off(observed), keyless(observed));
    if let Some((reason, message)) = refusing(observed, &cut_off, &keyless) {
        return (Status::False, reason, message);
    }
    let mut message = format!("{ready} of {desired} replicas serve");
    if *outdated > 0 {
        message.push_str(&format!(", {outdated} of them not yet the newest generation"));
    }
    for (what, all) in [("their log", &cut_off), ("the issuer's keys", &keyless)] {
        if !all.is_empty() {
            message.push_str(&format!("; without {what}: {}", some(all, MOST_TROUBLES)));
        }
    }
    if !barren.is_empty() {
        let (pods, why) = refusal_of(barren, MOST_TROUBLES);
        message.push_str(&format!("; the configuration is refused by {pods} ({why})"));
    }
    if !troubles.is_empty() {
        message.push_str(&format!("; not up: {}", some(troubles, MOST_TROUBLES)));
    }
    if let Some(refused) = refused::find(observed) {
        message.push_str(&format!("; {refused}"));
    }
    if (standing < desired || current::left(observed) > 0)
        && let Some(refused) = gateway_refused(observed)
    {
        message.push_str(&format!("; no more pods can be made: {refused}"));
    }
    let is_whole = cut_off.is_empty() && keyless.is_empty();
    let reason = match (outdated, ready < desired || !is_whole) {
        (1.., _) => "Updating",
        (_, true) => "PartlyServing",
        (_, false) => "Serving",
    };
    (Status::True, reason, message)
}

/// Why nobody is let in, though replicas are up.
fn refusing(
    observed: &Observed,
    cut_off: &[String],
    keyless: &[String],
) -> Option<(&'static str, String)> {
    let asked = observed.replicas.iter().filter(|replica| replica.barren().is_none()).count();
    let is_all = |some: &[String]| !some.is_empty() && some.len() == asked;
    if is_all(&bare(observed, &observed.replicas)) {
        return Some(("SecretMissing", secrets::missing(observed).unwrap_or_default()));
    }
    if is_all(cut_off) {
        let told = some(cut_off, MOST_TROUBLES);
        let message = format!("no replica reaches the log, so that all of them refuse: {told}");
        return Some(("LogUnavailable", message));
    }
    let auth = observed.pipeline.spec.auth.as_ref();
    // Who shows no token is still let in where that is enough.
    if !is_all(keyless) || auth.is_some_and(|auth| auth.anonymous) {
        return None;
    }
    let jwt = auth.and_then(|auth| auth.jwt.as_ref());
    let remedy = if jwt.is_some_and(|jwt| jwt.jwks_url.is_some()) {
        "mend spec.auth.jwt.jwksUrl, or let the pods reach it"
    } else {
        "put the issuer's JWK Set where spec.auth.jwt.jwks says"
    };
    let told = some(keyless, MOST_TROUBLES);
    let message = format!(
        "no replica has keys of the issuer, so that all of them refuse every token: {told}: {remedy}"
    );
    Some(("KeysUnreadable", message))
}

/// Which of these replicas find nothing of the Secret with the certificate of their public port.
fn bare(observed: &Observed, replicas: &[Replica]) -> Vec<String> {
    let Some(tls) = &observed.pipeline.spec.endpoints.tls else { return Vec::new() };
    let bare = replicas.iter().filter(|replica| match &replica.report {
        Report::Serving(sample) => sample.missing_secrets.contains(&tls.secret_name),
        Report::NotServing | Report::Silent(_) => false,
    });
    bare.map(|replica| replica.pod.clone()).collect()
}

/// The replicas that have no log to read or to write, and what each says of it.
fn cut_off(observed: &Observed) -> Vec<String> {
    lacking(observed, |sample| {
        let LogSample { healthy, message } = sample.log.as_ref()?;
        Some((*healthy, message.as_deref()))
    })
}

/// The replicas that have no keys to verify a token by, and what each says of it.
fn keyless(observed: &Observed) -> Vec<String> {
    lacking(observed, |sample| {
        let KeysSample { healthy, message } = sample.keys.as_ref()?;
        Some((*healthy, message.as_deref()))
    })
}

/// The replicas of which something isn't well, and what each says of it. `state` is whether it is, and why not.
fn lacking(
    observed: &Observed,
    state: impl Fn(&PipelineSample) -> Option<(bool, Option<&str>)>,
) -> Vec<String> {
    let lacking = observed.replicas.iter().filter_map(|replica| {
        let Report::Serving(sample) = &replica.report else { return None };
        let (_, why) = state(sample).filter(|(healthy, _)| !healthy)?;
        let why = why.unwrap_or("it does not say why").replace(OF_SECRETS_DIR, "");
        Some(format!("{} ({why})", replica.pod))
    });
    lacking.collect()
}

/// Why nobody serves, and what to do.
fn absent(observed: &Observed, census: &Census) -> (Status, &'static str, String) {
    let refused = refused::find(observed).filter(|_| census.desired == 0);
    if let Some(refused) = refused {
        return (Status::False, "PodsRefused", refused);
    }
    if !census.barren.is_empty() {
        let (pods, why) = refusal_of(&census.barren, MOST_TROUBLES);
        let message = format!(
            "nothing is served, because {pods} refused the configuration, and there is none before it ({why}): \
             {REFUSED_REMEDY}"
        );
        return (Status::False, "ConfigurationRefused", message);
    }
    if !bare(observed, &observed.unready).is_empty() {
        return (Status::False, "SecretMissing", secrets::missing(observed).unwrap_or_default());
    }
    let (reason, message) = match observed.pipeline.spec.placement.kind() {
        Some(PlacementKind::Sidecar(sidecar)) if census.desired == 0 => (
            "NoPodSelected",
            format!(
                "no pod of the namespace matches {}: start the application, or compare its pods' \
                 labels with spec.placement.sidecar.selector",
                selector::render(&sidecar.selector)
            ),
        ),
        Some(PlacementKind::Sidecar(_)) if census.injected == 0 => (
            "NoPodInjected",
            "none of the selected pods carries the sidecar: see Injected for the remedy".to_owned(),
        ),
        Some(PlacementKind::Sidecar(_) | PlacementKind::Gateway(_)) | None => {
            ("NoReplicaReady", unready(observed, census))
        }
    };
    (Status::False, reason, message)
}

fn unready(observed: &Observed, census: &Census) -> String {
    let message = format!("none of {} replicas is ready", census.desired);
    if let Some(uncertified) = uncertified(observed) {
        return format!("{message}: {uncertified}");
    }
    match (census.troubles.as_slice(), gateway_refused(observed)) {
        ([], None) if observed.existing.stateful_set.is_some() && census.current == 0 => {
            let name = observed.pipeline.name_any();
            format!(
                "{message} yet, nor is there a pod: `kubectl describe statefulset {name}` says why"
            )
        }
        ([], None) => format!("{message} yet"),
        ([], Some(refused)) => format!("{message}: no pod can be made: {refused}"),
        (troubles, _) => format!("{message}: {}", some(troubles, MOST_TROUBLES)),
    }
}

/// Which replicas are up and can't use the certificate that they find.
fn uncertified(observed: &Observed) -> Option<String> {
    let tls = observed.pipeline.spec.endpoints.tls.as_ref()?;
    let answers = |replica: &&Replica| matches!(replica.report, Report::Serving(_));
    let waiting = observed.unready.iter().filter(answers).map(|replica| replica.pod.clone());
    let waiting: Vec<String> = waiting.collect();
    let first = waiting.first()?;
    Some(format!(
        "{} can't use the certificate of the Secret {} yet: `kubectl logs {first} -n {} -c {SIDECAR_CONTAINER}` says \
         why, if it stays so",
        some(&waiting, MOST_TROUBLES),
        tls.secret_name,
        namespace(&observed.pipeline)
    ))
}

/// Why the gateway's Deployment can't make pods, and what to do.
fn gateway_refused(observed: &Observed) -> Option<String> {
    let refused = observed.existing.deployment.as_ref().and_then(refusal)?;
    let remedy = if refused.contains("exceeded quota") {
        "raise the namespace's ResourceQuota, or lower spec.placement.gateway's resources or replicas"
            .to_owned()
    } else if let Some(amounts) = unspecified(&refused) {
        format!(
            "set {amounts} in placement.gateway.resources, or give the namespace a LimitRange with defaults"
        )
    } else {
        let usual = || "have whoever refuses them admit the container weir-sidecar".to_owned();
        of_amounts(&refused, "placement.gateway").unwrap_or_else(usual)
    };
    Some(format!("{refused}: {remedy}"))
}
