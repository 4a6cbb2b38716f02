//! Why no replica answered, endpoint by endpoint, for whoever waited in vain.

use std::fmt;

/// The last trouble with each endpoint that was asked, in the order of the list. Shown as one line: endpoints with the
/// same trouble stand together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Troubles(Vec<Trouble>);

/// The last trouble with one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// As in the list of endpoints.
    pub endpoint: String,
    /// What went wrong, in a few words.
    pub cause: String,
}

impl Troubles {
    /// One for each endpoint that was asked.
    #[must_use]
    pub fn as_slice(&self) -> &[Trouble] {
        &self.0
    }
}

impl FromIterator<Trouble> for Troubles {
    fn from_iter<T: IntoIterator<Item = Trouble>>(troubles: T) -> Self {
        Self(troubles.into_iter().collect())
    }
}

/// How many endpoints with the same trouble are named.
const NAMED_MAX: usize = 8;

impl fmt::Display for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut causes: Vec<&str> = Vec::new();
        for trouble in &self.0 {
            if !causes.contains(&trouble.cause.as_str()) {
                causes.push(&trouble.cause);
            }
        }
        for (place, cause) in causes.iter().enumerate() {
            let same = self.0.iter().filter(|trouble| trouble.cause == *cause);
            let named: Vec<&str> = same.map(|trouble| trouble.endpoint.as_str()).collect();
            let separator = if place == 0 { "" } else { "; " };
            let shown = &named[..named.len().min(NAMED_MAX)];
            write!(f, "{separator}{}", shown.join(", "))?;
            if named.len() > shown.len() {
                write!(f, " and {} more", named.len() - shown.len())?;
            }
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

/// What the system said, without the number that it has for it.
pub(crate) fn in_words(reason: &str) -> &str {
    reason.split(" (os error ").next().unwrap_or(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn troubles(list: &[(&str, &str)]) -> Troubles {
        let trouble = |(endpoint, cause): &(&str, &str)| Trouble {
            endpoint: (*endpoint).to_owned(),
            cause: (*cause).to_owned(),
        };
        list.iter().map(trouble).collect()
    }

    #[test]
    fn endpoints_with_the_same_trouble_stand_together() {
        let mixed = troubles(&[("a:1", "refused"), ("b:1", "no answer"), ("c:1", "refused")]);
        assert_eq!(mixed.to_string(), "a:1, c:1: refused; b:1: no answer");
        assert_eq!(Troubles::default().to_string(), "");
        let many = troubles(&[("a:1", "refused"); 64]).to_string();
        assert!(many.ends_with(" and 56 more: refused"), "{many}");
    }

    #[test]
    fn the_number_of_a_system_error_is_left_out() {
        let said = std::io::Error::from_raw_os_error(111).to_string();
        assert_eq!(in_words(&said), "Connection refused");
        assert_eq!(in_words("greets twice"), "greets twice");
    }
}
