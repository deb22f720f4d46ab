//! The one line that says how the streams are doing.

/// How things stand at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The pipelines, in the order in which they are shown.
    pub pipelines: Vec<PipelineView>,
    /// Their SLOs.
    pub slos: Vec<SloView>,
}

/// One pipeline.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PipelineView {
    /// The name.
    pub name: String,
    /// Events accepted since the start.
    pub accepted: u64,
    /// Events accepted per second, lately.
    pub per_second: f64,
    /// SSE subscribers now.
    pub sse: u64,
    /// WebSocket subscribers now.
    pub websocket: u64,
    /// Events written to subscribers since the start.
    pub written: u64,
    /// Events that a subscriber was denied since the start.
    pub dropped: u64,
}

/// One SLO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SloView {
    /// The name.
    pub name: String,
    /// Its objectives.
    pub objectives: Vec<ObjectiveView>,
}

/// One objective.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectiveView {
    /// The name.
    pub name: String,
    /// What is said of it.
    pub verdict: Verdict,
    /// The percentage that was good, such as `99.41%`; absent without data.
    pub sli: Option<String>,
}

/// What is said of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is met.
    Met,
    /// It is missed.
    Missed,
    /// It can't be said yet.
    Unknown,
}

/// The line, cut to `width` columns where a width is given. Names are ASCII, so a column is a character.
#[must_use]
pub fn line(view: &View, width: Option<usize>) -> String {
    let View { pipelines, slos } = view;
    let parts: Vec<_> = pipelines.iter().map(pipeline).chain(slos.iter().map(slo)).collect();
    let line = if parts.is_empty() { "no pipelines".to_owned() } else { parts.join(" | ") };
    match width {
        Some(width) if line.chars().count() > width => {
            let kept = width.saturating_sub(ELLIPSIS.len());
            line.chars().take(kept).chain(ELLIPSIS.chars()).take(width).collect()
        }
        Some(_) | None => line,
    }
}

/// What ends a line that was cut.
const ELLIPSIS: &str = "..";

fn pipeline(view: &PipelineView) -> String {
    let PipelineView { name, accepted, per_second, sse, websocket, written, dropped } = view;
    let rate = rate(*per_second);
    let lost = if *dropped == 0 { String::new() } else { format!(", {dropped} dropped") };
    format!("{name}: {accepted} in ({rate}/s), {sse} sse, {websocket} ws, {written} out{lost}")
}

/// A rate with two digits, or all of them where it has more before the point.
fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        format!("{per_second:.0}")
    }
}

fn slo(view: &SloView) -> String {
    let SloView { name, objectives } = view;
    let objectives: Vec<_> = objectives.iter().map(objective).collect();
    format!("{name}: {}", objectives.join(", "))
}

fn objective(view: &ObjectiveView) -> String {
    let ObjectiveView { name, verdict, sli } = view;
    let verdict = match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "MISSED",
        Verdict::Unknown => "unknown",
    };
    match sli {
        Some(sli) => format!("{name} {verdict} {sli}"),
        None => format!("{name} {verdict}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let objective = |name: &str, verdict, sli: Option<&str>| ObjectiveView {
            name: name.into(),
            verdict,
            sli: sli.map(Into::into),
        };
        View {
            pipelines: vec![
                PipelineView {
                    name: "orders".into(),
                    accepted: 12_345,
                    per_second: 20.04,
                    sse: 2,
                    websocket: 1,
                    written: 37_035,
                    dropped: 0,
                },
                PipelineView { name: "idle".into(), dropped: 3, ..PipelineView::default() },
            ],
            slos: vec![SloView {
                name: "fast".into(),
                objectives: vec![
                    objective("latency", Verdict::Met, Some("99.98%")),
                    objective("errors", Verdict::Missed, Some("90%")),
                    objective("no-loss", Verdict::Unknown, None),
                ],
            }],
        }
    }

    #[test]
    fn the_line_names_every_pipeline_and_every_objective() {
        assert_eq!(
            line(&view(), None),
            "orders: 12345 in (20/s), 2 sse, 1 ws, 37035 out | \
             idle: 0 in (0/s), 0 sse, 0 ws, 0 out, 3 dropped | \
             fast: latency met 99.98%, errors MISSED 90%, no-loss unknown"
        );
        assert_eq!(line(&View::default(), None), "no pipelines");
    }

    #[test]
    fn a_rate_is_shown_with_the_digits_that_matter() {
        for (per_second, expected) in
            [(0.0, "0"), (0.26, "0.3"), (9.94, "9.9"), (9.96, "10"), (1234.5, "1234")]
        {
            assert_eq!(rate(per_second), expected);
        }
    }

    #[test]
    fn the_line_is_never_wider_than_asked() {
        let whole = line(&view(), None);
        assert_eq!(line(&view(), Some(whole.len())), whole);
        assert_eq!(line(&view(), Some(20)), "orders: 12345 in (..");
        for width in 0..whole.len() {
            assert_eq!(line(&view(), Some(width)).len(), width);
        }
    }
}
