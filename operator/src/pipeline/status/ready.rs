//! The condition Ready: everything that was asked for stands, and at least one replica serves.

use super::census::Census;
use super::{condition, endpoints, exposed, secrets};
use crate::conditions::{Finding, Status};
use crate::failure::{Category, Failure, chain, explain};
use crate::pipeline::observe::Observed;
use crate::pipeline::validate::Rejection;
use crate::pipeline::{Error, Outcome};

/// Finds the condition.
pub(super) fn find(observed: &Observed, census: &Census, outcome: &Outcome) -> Finding {
    match outcome {
        Outcome::Applied(_) => {
            let endpoints = endpoints::find(observed, census, outcome);
            let exposed = exposed::find(observed, outcome);
            let secrets = secrets::find(observed, census);
            // Not everything that was asked for stands where a Secret is missed, or subscribers outside are kept out.
            let found = [secrets, exposed].into_iter().flatten();
            let hindered = found.into_iter().find(|found| found.status == Status::False);
            let serves = endpoints.status == Status::True;
            let found = hindered.filter(|_| serves).unwrap_or(endpoints);
            Finding { type_: condition::READY, ..found }
        }
        Outcome::Rejected(rejection) => rejected(rejection),
        Outcome::Failed(error) => failed(error),
    }
}

fn rejected(rejection: &Rejection) -> Finding {
    let (reason, message) = match rejection {
        Rejection::Invalid(violations) => {
            let sentences: Vec<String> = violations.iter().map(ToString::to_string).collect();
            ("InvalidSpec", sentences.join("; "))
        }
        Rejection::NameTaken(names) => ("NameTaken", taken(names)),
        Rejection::VolumeFixed(sentence) => ("VolumeFixed", sentence.clone()),
        Rejection::ExposureOff => ("ExposureOff", exposed::off(&["networkPolicy"])),
    };
    Finding { type_: condition::READY, status: Status::False, reason, message }
}

/// Something else has names that are wanted.
fn taken(what: &[String]) -> String {
    let (was, is, it) = if what.len() == 1 { ("was", "is", "it") } else { ("were", "are", "them") };
    let what = enumeration(what);
    format!(
        "{what} {was} not made for this pipeline and {is} left alone: delete or rename {it}, or give the pipeline \
         another name"
    )
}

/// Some things in a sentence: `a, b and c`.
fn enumeration(things: &[String]) -> String {
    match things {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The condition after a phase failed.
pub(super) fn failed(error: &Error) -> Finding {
    let (reason, message) = match (error.category(), error) {
        (Category::Forbidden, _) => ("Forbidden", forbidden(error)),
        (Category::NotFound, Error::Policy(_)) => ("NoPolicies", no_policies()),
        (_, Error::Observe(_)) => ("ObserveFailed", words(error)),
        (_, Error::Build(_)) => ("BuildFailed", words(error)),
        (_, Error::PolicyTaken { kind, name }) => ("NameTaken", taken(&[format!("{kind} {name}")])),
        (_, Error::Apply(_) | Error::Policy(_)) => ("ApplyFailed", words(error)),
        (_, Error::Report(_)) => ("ReportFailed", words(error)),
    };
    Finding { type_: condition::READY, status: Status::False, reason, message }
}

/// The API server names verb, resource and namespace where a role lacks something; where an admission
/// or a quota forbids, it says that.
fn forbidden(error: &Error) -> String {
    let words = words(error);
    if words.contains(" cannot ") {
        format!("{words}; grant it to the operator's role, as the chart does")
    } else {
        words
    }
}

fn no_policies() -> String {
    "the API server serves no MutatingAdmissionPolicy (admissionregistration.k8s.io/v1), as Kubernetes does \
     from 1.36 on: install the operator with injection.mode=webhook"
        .to_owned()
}

/// The error with the API server's own message.
fn words(error: &Error) -> String {
    match error {
        Error::Observe(error) => format!("{error}: {}", explain(error.cause())),
        Error::Apply(error) | Error::Policy(error) | Error::Report(error) => {
            format!("{error}: {}", explain(error.cause()))
        }
        Error::Build(error) => chain(error),
        Error::PolicyTaken { .. } => error.to_string(),
    }
}
