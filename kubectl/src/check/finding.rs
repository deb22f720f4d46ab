//! What was found, and how it is written.

use serde::Serialize;
use serde_json::{Value, json};

use crate::output::{Paint, Tone, harmless};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and should be looked at.
    Warning,
    /// It does not work.
    Problem,
    /// It could not be looked at.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was seen.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// It is as it should be.
    pub fn ok(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            verdict: Verdict::Ok,
            message: message.into(),
            remedy: None,
        }
    }

    /// It is not, and this mends it.
    pub fn wrong(
        verdict: Verdict,
        subject: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (subject, message) = (subject.into(), message.into());
        Self { subject, verdict, message, remedy: Some(remedy.into()) }
    }

    /// It could not be looked at, for this reason.
    pub fn unknown(subject: impl Into<String>, reason: &str) -> Self {
        let remedy = "ask somebody who may read it, such as a cluster administrator";
        Self::wrong(Verdict::Unknown, subject, format!("could not be looked at: {reason}"), remedy)
    }
}

/// Whether nothing is a problem.
pub(super) fn is_sound(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.verdict != Verdict::Problem)
}

/// The findings for a person, and a last line that sums them up.
pub(super) fn text(findings: &[Finding], paint: Paint) -> String {
    let width = findings.iter().map(|finding| finding.subject.chars().count()).max();
    let width = width.unwrap_or_default();
    let mut out = String::new();
    for Finding { subject, verdict, message, remedy } in findings {
        let (word, tone) = match verdict {
            Verdict::Ok => ("ok", Tone::Good),
            Verdict::Warning => ("warning", Tone::Doubtful),
            Verdict::Problem => ("PROBLEM", Tone::Bad),
            Verdict::Unknown => ("unknown", Tone::Doubtful),
        };
        let word = paint.text(tone, &format!("{word:<7}"));
        out.push_str(&format!("{word}  {subject:<width$}  {}\n", harmless(message)));
        if let Some(remedy) = remedy {
            out.push_str(&format!("{:9}{:width$}  -> {}\n", "", "", harmless(remedy)));
        }
    }
    let count = |wanted| findings.iter().filter(|finding| finding.verdict == wanted).count();
    let (problems, warnings) = (count(Verdict::Problem), count(Verdict::Warning));
    let unknown = match count(Verdict::Unknown) {
        0 => String::new(),
        some => format!(", {some} not looked at"),
    };
    let sum = format!("{problems} problems, {warnings} warnings{unknown}");
    let (word, tone) = match (problems, unknown.is_empty()) {
        (0, true) => ("sound", Tone::Good),
        (0, false) => ("sound as far as could be looked at", Tone::Doubtful),
        _ => ("not sound", Tone::Bad),
    };
    out.push_str(&format!("\n{}: {sum}\n", paint.text(tone, word)));
    out
}

/// The findings for a program.
pub(super) fn document(findings: &[Finding]) -> Value {
    json!({ "sound": is_sound(findings), "findings": findings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Screen;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("API server", "it answers"),
            Finding::wrong(Verdict::Problem, "operator", "it is gone", "bring it back"),
            Finding::unknown("webhook", "forbidden"),
        ]
    }

    #[test]
    fn each_finding_stands_with_its_remedy_below() {
        let expected = "\
ok       API server  it answers
PROBLEM  operator    it is gone
                     -> bring it back
unknown  webhook     could not be looked at: forbidden
                     -> ask somebody who may read it, such as a cluster administrator

not sound: 1 problems, 0 warnings, 1 not looked at
";
        assert_eq!(text(&findings(), Screen::plain(Vec::new(), Vec::new()).paint), expected);
    }

    #[test]
    fn only_a_problem_makes_it_unsound() {
        assert!(!is_sound(&findings()));
        let others: Vec<_> =
            findings().into_iter().filter(|found| found.verdict != Verdict::Problem).collect();
        assert!(is_sound(&others));
        let said = text(&others, Screen::plain(Vec::new(), Vec::new()).paint);
        let sum = "\nsound as far as could be looked at: 0 problems, 0 warnings, 1 not looked at\n";
        assert!(said.ends_with(sum), "{said}");
    }

    #[test]
    fn a_program_reads_the_same() {
        let document = document(&findings());
        assert_eq!(document["sound"], false);
        assert_eq!(document["findings"][1]["verdict"], "problem");
        assert_eq!(document["findings"][1]["remedy"], "bring it back");
        assert!(document["findings"][0].get("remedy").is_none());
    }
}
