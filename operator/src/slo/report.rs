//! Writes the status of an SLO where it is worth it, and tells of a changed verdict, and of a budget in trouble, by Events.

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;
use weir_crds::v1alpha1::{StreamSLO, StreamSLOStatus};

use super::Error;
use super::changes::worth_writing;
use super::evaluators::Tracked;
use super::status::{self, Outcome};
use crate::apply::apply_status;
use crate::conditions;
use crate::context::{Context, Notice};
use crate::failure::{Failure, chain, explain};

/// Says on the SLO what came of its evaluation.
pub(super) async fn report(
    context: &Context,
    slo: &StreamSLO,
    outcome: &Outcome,
    tracked: &mut Tracked,
) -> Result<(), Error> {
    context.patience.forget(slo);
    let status = status::status(slo, outcome, Timestamp::now());
    let age = tracked.written.map(|written| written.elapsed());
    if !worth_writing(slo.status.as_ref(), &status, age) {
        return Ok(());
    }
    write(context, slo, &status).await?;
    tracked.written = Some(Instant::now());
    let before = slo.status.as_ref();
    let notices = [verdict_changed(before, &status), budget_changed(before, &status)];
    for notice in notices.into_iter().flatten() {
        context.publish(slo, notice).await;
    }
    Ok(())
}

/// Says on the SLO that it could not be evaluated, unless that passes by itself, and gives the error
/// back. A status that can't be written either is only logged.
pub(super) async fn failed(context: &Context, slo: &StreamSLO, error: Error) -> Error {
    if context.patience.bears(slo, error.category()) || context.written.is_behind(&slo.metadata) {
        return error;
    }
    let message = match &error {
        Error::Observe(observe) => format!("{observe}: {}", explain(observe.cause())),
        Error::Evaluate(_) | Error::Report(_) => chain(&error),
    };
    let status = status::unobserved(slo, message, Timestamp::now());
    if slo.status.as_ref() != Some(&status)
        && let Err(unwritten) = write(context, slo, &status).await
    {
        tracing::warn!(error = chain(&unwritten), "status not written");
    }
    error
}

async fn write(context: &Context, slo: &StreamSLO, status: &StreamSLOStatus) -> Result<(), Error> {
    let api = context.namespaced::<StreamSLO>(&slo.namespace().unwrap_or_default());
    let written = apply_status(&api, &slo.name_any(), status).await.map_err(Error::Report)?;
    context.written.note(&written.metadata);
    Ok(())
}

/// The Event that tells of a verdict that is another than before; nothing for the first one, unless it
/// is a verdict already.
fn verdict_changed(before: Option<&StreamSLOStatus>, now: &StreamSLOStatus) -> Option<Notice> {
    let met = conditions::get(&now.conditions, "Met")?;
    let before = before.and_then(|before| conditions::get(&before.conditions, "Met"));
    let before = before.map_or("Unknown", |before| before.status.as_str());
    (before != met.status).then(|| Notice {
        warning: met.status == "False",
        reason: met.reason.clone(),
        note: met.message.clone(),
    })
}

/// The Event that tells that a budget burns too fast or is overspent, for another reason than before, or is so no
/// longer.
fn budget_changed(before: Option<&StreamSLOStatus>, now: &StreamSLOStatus) -> Option<Notice> {
    let trouble = |status: &StreamSLOStatus| {
        let budget = conditions::get(&status.conditions, "BudgetHealthy")?;
        (budget.status == "False").then(|| budget.reason.clone())
    };
    let budget = conditions::get(&now.conditions, "BudgetHealthy")?;
    (before.and_then(trouble) != trouble(now)).then(|| Notice {
        warning: budget.status == "False",
        reason: budget.reason.clone(),
        note: budget.message.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::{Finding, Status};

    fn met(status: Status) -> StreamSLOStatus {
        let reason = match status {
            Status::True => "ObjectivesMet",
            Status::False => "ObjectiveMissed",
            Status::Unknown => "NoData",
        };
        of("Met", status, reason)
    }

    fn of(type_: &'static str, status: Status, reason: &'static str) -> StreamSLOStatus {
        let finding = Finding { type_, status, reason, message: "the numbers".to_owned() };
        let conditions =
            conditions::merge(&[], vec![finding], Some(1), Timestamp::from_second(1).unwrap());
        StreamSLOStatus { conditions, ..StreamSLOStatus::default() }
    }

    #[test]
    fn an_event_tells_of_each_change_of_the_verdict() {
        let told = |before: Option<Status>, now| {
            let before = before.map(met);
            verdict_changed(before.as_ref(), &met(now))
                .map(|notice| (notice.warning, notice.reason))
        };
        let expected = |warning, reason: &str| Some((warning, reason.to_owned()));
        let (yes, no, unknown) = (Status::True, Status::False, Status::Unknown);
        assert_eq!(told(Some(yes), no), expected(true, "ObjectiveMissed"));
        assert_eq!(told(Some(no), yes), expected(false, "ObjectivesMet"));
        assert_eq!(told(Some(yes), unknown), expected(false, "NoData"));
        assert_eq!(told(Some(no), no), None);
        assert_eq!(told(None, unknown), None);
        assert_eq!(told(None, yes), expected(false, "ObjectivesMet"));
    }

    #[test]
    fn an_event_tells_of_a_budget_in_trouble_and_of_the_end_of_it() {
        let budget = |status, reason| of("BudgetHealthy", status, reason);
        let well = || budget(Status::True, "WithinBudget");
        let told = |before: Option<StreamSLOStatus>, now| {
            budget_changed(before.as_ref(), &now).map(|notice| (notice.warning, notice.reason))
        };
        let expected = |warning, reason: &str| Some((warning, reason.to_owned()));
        let (fast, slow) =
            (|| budget(Status::False, "FastBurn"), || budget(Status::False, "SlowBurn"));
        assert_eq!(told(Some(well()), fast()), expected(true, "FastBurn"));
        assert_eq!(told(None, slow()), expected(true, "SlowBurn"));
        assert_eq!(told(Some(slow()), fast()), expected(true, "FastBurn"));
        assert_eq!(told(Some(fast()), well()), expected(false, "WithinBudget"));
        assert_eq!(told(Some(fast()), fast()), None);
        assert_eq!(told(None, well()), None);
        let unknown = budget(Status::Unknown, "NoData");
        assert_eq!(told(Some(well()), unknown), None);
    }
}
