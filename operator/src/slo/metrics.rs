//! Counts evaluations, and shows what they found.
//!
//! The gauges have one series for each objective; those of an SLO that is gone are taken away.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::burn::Speed;
use super::evaluators::Judged;

/// How an evaluation ended: of the closed set of a reconcile's outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// An objective.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectiveLabels {
    namespace: String,
    slo: String,
    objective: String,
}

/// An objective, and how fast its budget burns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BurningLabels {
    namespace: String,
    slo: String,
    objective: String,
    speed: &'static str,
}

type Ratios = Family<ObjectiveLabels, Gauge<f64, AtomicU64>>;

/// The metrics of the evaluations.
pub(super) struct SloMetrics {
    evaluations: Family<ResultLabel, Counter>,
    sli: Ratios,
    budget: Ratios,
    burning: Family<BurningLabels, Gauge>,
    /// Which series each SLO has, by its uid.
    shown: Mutex<HashMap<String, Vec<ObjectiveLabels>>>,
}

impl SloMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (evaluations, sli, budget) = (Family::default(), Ratios::default(), Ratios::default());
        registry.register(
            "slo_evaluations",
            "Evaluations of StreamSLOs, by result",
            Family::clone(&evaluations),
        );
        registry.register_with_unit(
            "slo_sli",
            "Share of good of an objective over its time window; absent while nothing was counted",
            ratio(),
            sli.clone(),
        );
        registry.register_with_unit(
            "slo_error_budget_remaining",
            "Share of an objective's error budget that is left; negative once overspent",
            ratio(),
            budget.clone(),
        );
        let burning = Family::default();
        registry.register(
            "slo_budget_burning",
            "Whether an objective's error budget burns too fast, as BudgetHealthy says: 1 or 0, by speed; \
             fast is for somebody to look at once, slow within days",
            Family::clone(&burning),
        );
        Self { evaluations, sli, budget, burning, shown: Mutex::default() }
    }

    /// Notes how an evaluation ended.
    pub(super) fn count(&self, result: &'static str) {
        self.evaluations.get_or_create_owned(&ResultLabel { result }).inc();
    }

    /// Shows what is known of the objectives of the SLO `uid`, and nothing else of it.
    pub(super) fn show(&self, uid: &str, namespace: &str, slo: &str, judged: &[Judged]) {
        self.forget(uid);
        let mut shown = Vec::new();
        for judged in judged {
            let labels = ObjectiveLabels {
                namespace: namespace.to_owned(),
                slo: slo.to_owned(),
                objective: judged.demand.name.clone(),
            };
            if let Some(sli) = judged.evaluation.sli {
                self.sli.get_or_create_owned(&labels).set(share(sli));
            }
            if let Some(budget) = judged.evaluation.budget {
                let ratio = from_ppm(budget.remaining_percent.ppm());
                self.budget.get_or_create_owned(&labels).set(ratio);
                for (speed, labels) in by_speed(&labels) {
                    let burns = judged.burning.is_some_and(|burning| burning.speed == speed);
                    self.burning.get_or_create_owned(&labels).set(i64::from(burns));
                }
            }
            shown.push(labels);
        }
        self.shown.lock().insert(uid.to_owned(), shown);
    }

    /// Takes away the series of the SLO `uid`.
    pub(super) fn forget(&self, uid: &str) {
        for labels in self.shown.lock().remove(uid).unwrap_or_default() {
            self.sli.remove(&labels);
            self.budget.remove(&labels);
            by_speed(&labels).iter().for_each(|(_, labels)| {
                self.burning.remove(labels);
            });
        }
    }
}

/// The series of an objective that say how fast its budget burns.
fn by_speed(labels: &ObjectiveLabels) -> [(Speed, BurningLabels); 2] {
    let ObjectiveLabels { namespace, slo, objective } = labels;
    let of = |speed: Speed| {
        let word = match speed {
            Speed::Fast => "fast",
            Speed::Slow => "slow",
        };
        let labels = BurningLabels {
            namespace: namespace.clone(),
            slo: slo.clone(),
            objective: objective.clone(),
            speed: word,
        };
        (speed, labels)
    };
    [of(Speed::Fast), of(Speed::Slow)]
}

/// The base unit as Prometheus names it; the library's own word is the plural.
fn ratio() -> Unit {
    Unit::Other("ratio".to_owned())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; verdicts are taken from the integers"
)]
fn share(sli: weir_slo::Sli) -> f64 {
    sli.good() as f64 / sli.total() as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; verdicts are taken from the integers"
)]
fn from_ppm(ppm: i64) -> f64 {
    ppm as f64 / 1_000_000.0
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use weir_slo::{BurnRate, ErrorBudget, Evaluation, Millis, Percent, Rate, Ratio, Sli, Verdict};

    use super::super::burn::Burning;
    use super::super::testing::slo;
    use super::super::validate::validate;
    use super::*;

    fn judged() -> Judged {
        let slo = slo("[{name: errors, target: \"99\", errorRate: {}}]");
        let demand = validate("feed", &slo.spec).unwrap().objectives.remove(0).demand;
        let budget =
            ErrorBudget { total: 1, consumed: 2, remaining_percent: Percent::from_ppm(-1_000_000) };
        let evaluation = Evaluation {
            name: "errors".to_owned(),
            verdict: Verdict::Missed,
            sli: Sli::new(98, 100),
            good: 98,
            total: 100,
            excluded: 0,
            coverage: Ratio::ONE,
            budget: Some(budget),
            burn_rates: Vec::new(),
        };
        Judged { demand, evaluation, burn: None, burning: None }
    }

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn an_objective_shows_its_sli_and_budget_until_its_slo_is_gone() {
        let mut registry = Registry::with_prefix("weir_operator");
        let metrics = SloMetrics::register(&mut registry);
        metrics.show("uid", "shop", "feed", &[judged()]);
        let labels = "{namespace=\"shop\",slo=\"feed\",objective=\"errors\"}";
        let shown = text(&registry);
        assert!(shown.contains(&format!("weir_operator_slo_sli_ratio{labels} 0.98\n")), "{shown}");
        let budget = format!("weir_operator_slo_error_budget_remaining_ratio{labels} -1.0\n");
        assert!(shown.contains(&budget), "{shown}");
        let burning = |speed: &str, value: u8| {
            let labels = labels.replace('}', &format!(",speed=\"{speed}\"}}"));
            format!("weir_operator_slo_budget_burning{labels} {value}\n")
        };
        assert!(shown.contains(&burning("fast", 0)), "{shown}");
        let rate = Rate::new(20, 100, "99".parse().unwrap()).unwrap();
        let rate = BurnRate { window: Millis::from_hours(1), rate, bad: 20, total: 100 };
        let burns = Burning { speed: Speed::Fast, long: rate, short: rate };
        metrics.show("uid", "shop", "feed", &[Judged { burning: Some(burns), ..judged() }]);
        let shown = text(&registry);
        assert!(shown.contains(&burning("fast", 1)), "{shown}");
        assert!(shown.contains(&burning("slow", 0)), "{shown}");
        metrics.forget("uid");
        assert!(!text(&registry).contains("objective="));
    }

    #[test]
    fn an_objective_that_was_removed_is_shown_no_longer() {
        let mut registry = Registry::default();
        let metrics = SloMetrics::register(&mut registry);
        metrics.show("uid", "shop", "feed", &[judged()]);
        metrics.show("uid", "shop", "feed", &[]);
        assert!(!text(&registry).contains("objective="));
    }
}
