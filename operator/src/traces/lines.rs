//! Names in each line of the log the trace in which it was written, so that one leads to the other.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::{TraceContextExt as _, TraceId};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::args::LogFormat;

/// Lines with `trace_id`, made of lines without.
pub struct Correlated<F> {
    lines: F,
    format: LogFormat,
}

/// Adds `trace_id` to lines that are written within a trace which is sent.
pub const fn correlated<F>(lines: F, format: LogFormat) -> Correlated<F> {
    Correlated { lines, format }
}

impl<S, N, F> FormatEvent<S, N> for Correlated<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(trace) = current() else {
            return self.lines.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.lines.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&with_trace(line.trim_end(), trace, self.format))
    }
}

/// The trace that this thread is in, where it is sent.
fn current() -> Option<TraceId> {
    Context::map_current(|context| {
        let span = context.span();
        let found = span.span_context();
        (found.is_valid() && found.is_sampled()).then(|| found.trace_id())
    })
}

fn with_trace(line: &str, trace: TraceId, format: LogFormat) -> String {
    match format {
        LogFormat::Text => format!("{line} trace_id={trace}\n"),
        LogFormat::Json => {
            let open = line.strip_suffix('}').unwrap_or(line);
            format!("{open},\"trace_id\":\"{trace}\"}}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_of_its_format() {
        let trace = TraceId::from(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        let json = with_trace(r#"{"message":"x"}"#, trace, LogFormat::Json);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(json["message"], "x");
        let text = with_trace("INFO x", trace, LogFormat::Text);
        assert_eq!(text, "INFO x trace_id=0af7651916cd43dd8448eb211c80319c\n");
    }
}
