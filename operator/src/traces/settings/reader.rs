//! Looks variables up, and collects what is wrong with them.

use std::ops::RangeInclusive;

use percent_encoding::percent_decode_str;

/// Looks variables up, and collects what is wrong with them.
pub(super) struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

/// A variable that is set.
pub(super) struct Setting {
    /// Its name.
    pub(super) variable: String,
    /// Its value.
    pub(super) value: String,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(variable: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { variable, problems: Vec::new() }
    }

    /// All that was wrong.
    pub(super) fn problems(self) -> Vec<String> {
        self.problems
    }

    /// Notes that a variable is wrong.
    pub(super) fn wrong(&mut self, name: &str, remedy: &str) {
        self.problems.push(format!("{name} {remedy}"));
    }

    /// The value of a variable. An empty one counts as none, as OpenTelemetry has it.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let value = (self.variable)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The same with its name.
    pub(super) fn setting(&self, name: &str) -> Option<Setting> {
        self.get(name).map(|value| Setting { variable: name.to_owned(), value })
    }

    /// A setting of the exporter: that of traces, or else that of all signals.
    pub(super) fn of_exporter(&self, what: &str) -> Option<Setting> {
        let own = self.setting(&format!("OTEL_EXPORTER_OTLP_TRACES_{what}"));
        own.or_else(|| self.setting(&format!("OTEL_EXPORTER_OTLP_{what}")))
    }

    /// A whole number within a range.
    pub(super) fn number(
        &mut self,
        setting: Option<Setting>,
        range: RangeInclusive<u64>,
        what: &str,
    ) -> Option<u64> {
        let Setting { variable, value } = setting?;
        let number = value.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            let remedy = format!("is to be a number of {what} from {least} to {most}");
            self.wrong(&variable, &remedy);
        }
        number
    }

    /// A list such as `team=streams,tier=gold`, in whose values a percent sign begins an encoded byte.
    pub(super) fn pairs(&mut self, setting: &Setting) -> Vec<(String, String)> {
        let Setting { variable, value } = setting;
        let mut pairs = Vec::new();
        for (index, entry) in
            value.split(',').enumerate().filter(|(_, entry)| !entry.trim().is_empty())
        {
            match pair(entry) {
                Some(pair) => pairs.push(pair),
                None => {
                    let number = index + 1;
                    let remedy = format!(
                        "is to be a list such as team=streams,tier=gold, and its entry {number} is not"
                    );
                    self.wrong(variable, &remedy);
                }
            }
        }
        pairs
    }
}

fn pair(entry: &str) -> Option<(String, String)> {
    let (name, value) = entry.split_once('=')?;
    let name = name.trim();
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    (!name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
}
