//! Fills `${NAME}` in the configuration files of `tests/cluster/config`.

use anyhow::{Context, Result};

/// Replaces every `${NAME}` by its value.
///
/// # Errors
/// When a name has no value, so that no component starts with a half-filled configuration.
pub(crate) fn render(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut pieces = template.split("${");
    let mut rendered = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once('}').context("a ${ in a template is not closed")?;
        let value = values.iter().find(|(known, _)| *known == name);
        let (_, value) = value
            .with_context(|| format!("a template mentions ${{{name}}}, which has no value"))?;
        rendered.push_str(value);
        rendered.push_str(rest);
    }
    Ok(rendered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_wherever_they_stand() {
        let values = [("A", "1"), ("B", "two")];
        assert_eq!(render("${A}-${B}${A}\n$A", &values).unwrap(), "1-two1\n$A");
    }

    #[test]
    fn a_name_without_a_value_is_an_error_that_names_it() {
        let error = render("x: ${MISSING}", &[("A", "1")]).unwrap_err();
        assert!(error.to_string().contains("${MISSING}"), "{error}");
    }

    #[test]
    fn values_are_not_rendered_again() {
        assert_eq!(render("${A}", &[("A", "${A}")]).unwrap(), "${A}");
    }
}
