//! Draws one SLO.

use kube::ResourceExt;
use weir_crds::v1alpha1::{BurnRateStatus, ErrorBudgetStatus, ObjectiveStatus, StreamSLO};

use crate::output::{Paint, Tone};

/// The columns of a bar.
const WIDTH: usize = 24;

/// The lines, each ended by a line break.
pub(super) fn draw(slo: &StreamSLO, paint: Paint) -> String {
    let mut lines = vec![heading(slo, paint)];
    match slo.status.as_ref().map(|status| &status.objectives) {
        Some(objectives) if !objectives.is_empty() => {
            lines.extend(objectives.iter().flat_map(|found| objective(slo, found, paint)));
        }
        Some(_) | None => lines.push(format!("  {}", paint.text(Tone::Doubtful, &missing(slo)))),
    }
    lines.iter().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

fn heading(slo: &StreamSLO, paint: Paint) -> String {
    let name = paint.text(Tone::Strong, &slo.name_any());
    let summary = slo.status.as_ref().and_then(|status| status.summary.as_ref());
    let met = summary.map_or_else(String::new, |summary| {
        let data = if summary.data == "OK" { String::new() } else { format!(", {}", summary.data) };
        format!(", met {}{data}", summary.met)
    });
    let (pipeline, window) = (&slo.spec.pipeline_ref.name, &slo.spec.time_window.duration);
    format!("{name} of pipeline {pipeline}, over {window}{met}")
}

/// Why there is nothing to draw.
fn missing(slo: &StreamSLO) -> String {
    let conditions = slo.status.iter().flat_map(|status| &status.conditions);
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    match ready.next() {
        Some(ready) if ready.status != "True" => format!("{}: {}", ready.reason, ready.message),
        Some(_) => "no objective has been evaluated yet".to_owned(),
        None => {
            "not evaluated yet: no operator has looked at it; see `kubectl weir check`".to_owned()
        }
    }
}

fn objective(slo: &StreamSLO, status: &ObjectiveStatus, paint: Paint) -> Vec<String> {
    let ObjectiveStatus {
        name,
        met,
        sli,
        good,
        total,
        excluded: _,
        coverage,
        error_budget,
        burn_rates,
    } = status;
    let (word, tone) = match met.as_str() {
        "True" => ("met", Tone::Good),
        "False" => ("MISSED", Tone::Bad),
        _ => ("unknown", Tone::Doubtful),
    };
    let target = slo.spec.objectives.iter().find(|objective| objective.name == *name);
    let target = target.and_then(|objective| objective.target.as_ref());
    let target = target.map_or_else(String::new, |target| format!(" of {target}%"));
    let sli = sli.as_ref().map_or_else(|| "no data".to_owned(), |sli| format!("{sli}%"));
    let verdict = paint.text(tone, &format!("{word:<7}"));
    let counts = paint.text(Tone::Dim, &format!("{good} good of {total}, {coverage}% measured"));
    let mut lines = vec![format!("  {name:<16} {verdict}  {sli}{target}   {counts}")];
    lines.extend(error_budget.iter().map(|found| budget(found, paint)));
    lines.extend(burn_rates.iter().map(|rate| burn(rate, paint)));
    lines
}

/// What is left of the budget.
fn budget(budget: &ErrorBudgetStatus, paint: Paint) -> String {
    let ErrorBudgetStatus { total, consumed, remaining_percent } = budget;
    let left: f64 = remaining_percent.parse().unwrap_or_default();
    let tone = match left {
        left if left <= 0.0 => Tone::Bad,
        left if left < 25.0 => Tone::Doubtful,
        _ => Tone::Good,
    };
    let bar = paint.text(tone, &bar(left / 100.0));
    let counts = paint.text(Tone::Dim, &format!("{consumed} bad of {total} allowed"));
    format!("    {:<10} {bar} {remaining_percent:>6}%   {counts}", "budget")
}

/// How fast the budget is spent. Each quarter of the bar is four times as fast as the one before, and the
/// first ends where the budget lasts exactly for the window.
fn burn(rate: &BurnRateStatus, paint: Paint) -> String {
    let BurnRateStatus { window, rate } = rate;
    let speed: f64 = rate.parse().unwrap_or_default();
    let tone = match speed {
        speed if speed > 6.0 => Tone::Bad,
        speed if speed > 1.0 => Tone::Doubtful,
        _ => Tone::Good,
    };
    let share = if speed <= 1.0 { speed / 4.0 } else { 0.25 + speed.log(4.0) / 4.0 };
    let bar = paint.text(tone, &bar(share));
    format!("    {:<10} {bar} {rate:>6}x", format!("burn {window}"))
}

/// A bar of which a share is filled; a little is never shown as nothing.
fn bar(share: f64) -> String {
    let full = share.clamp(0.0, 1.0) * WIDTH as f64;
    let full = if full > 0.0 { (full.round() as usize).max(1) } else { 0 };
    format!("{}{}", "█".repeat(full), "░".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::output::Screen;

    fn drawn(status: &Value) -> String {
        let slo: StreamSLO = serde_json::from_value(json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "StreamSLO",
            "metadata": { "name": "orders", "namespace": "shop" },
            "spec": {
                "pipelineRef": { "name": "shop" }, "timeWindow": { "duration": "28d" },
                "objectives": [{ "name": "speed", "target": "99.5", "latency": { "threshold": "50ms" } }],
            },
            "status": status,
        }))
        .unwrap();
        draw(&slo, Screen::plain(Vec::new(), Vec::new()).paint)
    }

    fn objective(budget: &str, burn: &str) -> Value {
        json!({
            "name": "speed", "met": "False", "sli": "99.41", "good": 38102, "total": 38328,
            "coverage": "100",
            "errorBudget": { "total": 191, "consumed": 226, "remainingPercent": budget },
            "burnRates": [{ "window": "1h", "rate": burn }],
        })
    }

    #[test]
    fn an_objective_is_drawn_with_its_budget_and_its_burn_rates() {
        let summary = json!({ "met": "0/1", "data": "OK" });
        let text = drawn(&json!({ "summary": summary, "objectives": [objective("50", "4")] }));
        let expected = "\
orders of pipeline shop, over 28d, met 0/1
  speed            MISSED   99.41% of 99.5%   38102 good of 38328, 100% measured
    budget     ████████████░░░░░░░░░░░░     50%   226 bad of 191 allowed
    burn 1h    ████████████░░░░░░░░░░░░      4x
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_bar_never_leaves_its_columns_and_shows_a_little_as_something() {
        for (share, full) in [(-0.2, 0), (0.0, 0), (0.001, 1), (0.5, 12), (1.0, 24), (9.0, 24)] {
            let bar = bar(share);
            assert_eq!(bar.chars().filter(|char| *char == '█').count(), full, "{share}");
            assert_eq!(bar.chars().count(), WIDTH);
        }
    }

    #[test]
    fn an_slo_that_was_not_evaluated_says_why() {
        assert!(drawn(&Value::Null).contains("no operator has looked at it"));
        let conditions = json!([{
            "type": "Ready", "status": "False", "reason": "PipelineNotFound",
            "message": "there is no pipeline shop", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
        let text = drawn(&json!({ "conditions": conditions }));
        assert!(text.contains("  PipelineNotFound: there is no pipeline shop\n"), "{text}");
    }
}
