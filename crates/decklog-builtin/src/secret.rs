//! An API key, which must appear nowhere but in a request's header.
//!
//! Must not know: where it comes from.

/// Shorter ones would be found in ordinary words.
const MIN: usize = 6;
/// What stands in a key's place.
const MASK: &str = "[api key]";

/// A key. Its `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(value: String) -> Self {
        Self(value)
    }

    /// The key itself, for a header.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Replaces the key in a line of JSON, as it stands and as JSON writes it.
    pub(crate) fn keep_out_of(&self, line: &mut String) {
        if self.0.len() < MIN {
            return;
        }
        let quoted = serde_json::to_string(&self.0).unwrap_or_default();
        let escaped = quoted.trim_matches('"');
        for form in [self.0.as_str(), escaped] {
            if !form.is_empty() && line.contains(form) {
                *line = line.replace(form, MASK);
            }
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_replaced_in_every_form() {
        for (key, line, expected) in [
            ("topsecret", r#"{"message":"bad key topsecret"}"#, r#"{"message":"bad key [api key]"}"#),
            (r#"top"sec\ret"#, r#"{"message":"bad key top\"sec\\ret!"}"#, r#"{"message":"bad key [api key]!"}"#),
            ("type", r#"{"type":"done"}"#, r#"{"type":"done"}"#),
        ] {
            let mut line = line.to_owned();
            Secret::new(key.to_owned()).keep_out_of(&mut line);
            assert_eq!(line, expected);
        }
        assert_eq!(format!("{:?}", Secret::new("topsecret".into())), MASK);
    }
}
