//! The token that opens the pages to who asks from elsewhere.

use std::fmt;
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::error::CliError;

/// What a request must show, as `Bearer TOKEN` or as the password of `Basic`, which a browser asks for.
pub(crate) struct Token(String);

/// Shorter ones can be guessed.
const MIN_LEN: usize = 16;

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The first line of a file that only its owner can read.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        #[cfg(feature = "encrypted-storage")]
        let text = nonos_storage::read_private(path)?.to_string();
        #[cfg(not(feature = "encrypted-storage"))]
        let text = std::fs::read_to_string(path).map_err(|source| CliError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        let token = text.lines().next().unwrap_or_default().trim();
        if token.len() < MIN_LEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(CliError::Token {
                path: path.to_owned(),
            });
        }
        Ok(Self(token.to_owned()))
    }

    /// Whether this is what `Authorization` has to be.
    pub(super) fn opens(&self, given: &[u8]) -> bool {
        if let Some(token) = given.strip_prefix(b"Bearer ") {
            return self.is(token);
        }
        let basic = given
            .strip_prefix(b"Basic ")
            .map(|text| BASE64_STANDARD.decode(text));
        let Some(Ok(basic)) = basic else {
            return false;
        };
        let colon = basic.iter().position(|b| *b == b':');
        colon.is_some_and(|at| self.is(basic.get(at + 1..).unwrap_or_default()))
    }

    /// Takes as long wherever the first difference is.
    fn is(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differences = own.iter().zip(given).fold(0, |all, (a, b)| all | (a ^ b));
        own.len() == given.len() && differences == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens() {
        let token = Token("a-token-of-enough-length".to_owned());
        assert!(token.opens(b"Bearer a-token-of-enough-length"));
        // "anybody:a-token-of-enough-length", as `base64` of coreutils makes it.
        assert!(token.opens(b"Basic YW55Ym9keTphLXRva2VuLW9mLWVub3VnaC1sZW5ndGg="));
        for wrong in [
            &b""[..],
            b"Bearer ",
            b"Bearer a-token-of-enough-lengtH",
            b"Bearer a-token-of-enough-length ",
            b"Bearer a-token-of-enough-lengt",
            b"Basic ",
            b"Basic YW55Ym9keTo=",
            b"Basic \xff\xff",
            b"a-token-of-enough-length",
        ] {
            assert!(!token.opens(wrong), "{wrong:?}");
        }
    }
}
