//! Prints errors.

use std::error::Error;
use std::fmt;

/// An error and the errors that caused it, separated by colons. The text of an error does not contain its cause.
pub(crate) struct Report<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(fmt::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn reports_an_error_and_its_causes() {
        let inner = fmt::Error;
        assert_eq!(Report(&inner).to_string(), inner.to_string());
        assert_eq!(Report(&Outer(inner)).to_string(), format!("outer: {inner}"));
    }
}
