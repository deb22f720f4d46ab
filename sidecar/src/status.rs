//! What the `run` mode prints: where the streams are, and one line that keeps itself current.

mod banner;
mod line;
mod printer;

pub use banner::{Addresses, banner};
pub use line::{ObjectiveView, PipelineView, SloView, Verdict, View, line};
pub use printer::Printer;
