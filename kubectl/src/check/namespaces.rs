//! The namespaces that an operator watches: are they there, and may it read them?

use super::finding::{Finding, Verdict};
use super::observe::Read;
use super::operator::Installed;

/// A namespace that is to be watched: whether the operator may read it, or `None` where it isn't there.
pub(super) type Watched = (String, Read<Option<bool>>);

/// What is to be said; nothing where all namespaces are watched.
pub(super) fn judge(installed: &Installed) -> Vec<Finding> {
    let subject = format!("namespaces of {}", installed.title());
    let each = installed.namespaces.iter();
    let wrong: Vec<Finding> = each.filter_map(|watched| one(&subject, watched)).collect();
    if wrong.is_empty() && !installed.namespaces.is_empty() {
        let message = format!("{} are watched, and can be read", installed.namespaces.len());
        return vec![Finding::ok(subject, message)];
    }
    wrong
}

fn one(subject: &str, (namespace, read): &Watched) -> Option<Finding> {
    let again = "install the chart again, which makes the role in it";
    match read {
        Ok(Some(true)) => None,
        Ok(Some(false)) => {
            let message =
                format!("the operator may not read {namespace}, and serves nothing in it");
            Some(Finding::wrong(Verdict::Problem, subject, message, again))
        }
        Ok(None) => {
            let message = format!("{namespace} is watched, and is not there");
            let remedy = format!("take it out of watchNamespaces, or make it and {again}");
            Some(Finding::wrong(Verdict::Warning, subject, message, remedy))
        }
        Err(reason) => Some(Finding::unknown(subject, &format!("{namespace}: {reason}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::operator::tests::installed;

    fn verdicts(namespaces: &[Watched]) -> Vec<Verdict> {
        let operator =
            Installed { namespaces: namespaces.to_vec(), ..installed("weir-system", &[]) };
        judge(&operator).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn a_namespace_that_is_gone_or_cannot_be_read_is_named() {
        let watched = |read| ("shop".to_owned(), read);
        assert_eq!(verdicts(&[]), []);
        assert_eq!(verdicts(&[watched(Ok(Some(true)))]), [Verdict::Ok]);
        let wrong = [Ok(Some(false)), Ok(None), Err("forbidden".to_owned())].map(watched);
        assert_eq!(verdicts(&wrong), [Verdict::Problem, Verdict::Warning, Verdict::Unknown]);
    }
}
